/**
 * How much of a prompt a mixed unit computes between two steps, so that the streams that are running there do not stand still for long. What pieces and steps take is
 * measured: it depends on the device, the batch, and how far into a prompt a piece is.
 *
 * @module
 */

/** A gap between two tokens is a piece and a step; by default it is at most so many steps. */
const MOST_STEPS = 3;
/** Steps whose median is taken. */
const STEPS = 15;
/** Tokens of a piece before anything is measured. */
const FIRST = 64;
/** Tokens of the smallest piece: below, weights are read for next to nothing. */
const LEAST = 16;
/** How much larger the next piece may be than the last. */
const GROWTH = 2;

/** Sizes of {@link PieceSizes}. */
export interface PieceSizesOptions {
  /** Most tokens of a piece. */
  readonly most: number;
  /** Most milliseconds of a piece and a step; undefined: three steps. */
  readonly maxStepMs: number | undefined;
}

/** Sizes of one unit's pieces. */
export class PieceSizes {
  readonly #options: PieceSizesOptions;
  /** Milliseconds of the last steps. */
  readonly #steps: number[] = [];
  #tokens: number;

  constructor(options: PieceSizesOptions) {
    this.#options = options;
    this.#tokens = Math.min(FIRST, options.most);
  }

  /** Most tokens of the next piece while others generate. */
  get tokens(): number {
    return this.#tokens;
  }

  /** A step took so long. */
  stepped(milliseconds: number): void {
    this.#steps.push(milliseconds);
    if (this.#steps.length > STEPS) this.#steps.shift();
  }

  /**
   * A piece took so long. What a piece takes is something and so much for each token: in proportion, sizes come to where it takes as long as it may, and what is
   * far off comes near in a few pieces.
   */
  computed(tokens: number, milliseconds: number): void {
    const most = this.#mostMilliseconds;
    // The end of a prompt is smaller than it could have been and says little of larger ones, unless it took too long.
    if (most === null || milliseconds <= 0 || (tokens < this.#tokens && milliseconds <= most)) return;
    const fitting = Math.min(tokens * most / milliseconds, this.#tokens * GROWTH);
    this.#tokens = Math.min(this.#options.most, Math.max(LEAST, Math.floor(fitting / LEAST) * LEAST));
  }

  /** Milliseconds that a piece may take; null: no step was measured yet. */
  get #mostMilliseconds(): number | null {
    if (this.#steps.length === 0) return null;
    const sorted = this.#steps.toSorted((a, b) => a - b);
    const step = sorted[Math.floor(sorted.length / 2)];
    return Math.max(0, (this.#options.maxStepMs ?? MOST_STEPS * step) - step);
  }
}
