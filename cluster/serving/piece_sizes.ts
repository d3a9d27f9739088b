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
  /** The last piece that says something of others. */
  #last: { readonly tokens: number; readonly milliseconds: number } | null = null;

  constructor(options: PieceSizesOptions) {
    this.#options = options;
  }

  /**
   * Most tokens of the next piece while others generate. What a piece takes is something and so much for each token: in proportion to the last one, sizes come to where
   * they take as long as they may. Of much smaller ones the last says too little: they are begun with carefully.
   */
  get tokens(): number {
    const { most } = this.#options;
    const milliseconds = this.#mostMilliseconds;
    if (milliseconds === null || this.#last === null) return Math.min(FIRST, most);
    const fitting = this.#last.tokens * milliseconds / this.#last.milliseconds;
    const next = fitting < this.#last.tokens / 2 ? fitting / 2 : Math.min(fitting, this.#last.tokens * GROWTH);
    return Math.min(most, Math.max(LEAST, Math.floor(next / LEAST) * LEAST));
  }

  /** A step took so long. */
  stepped(milliseconds: number): void {
    this.#steps.push(milliseconds);
    if (this.#steps.length > STEPS) this.#steps.shift();
  }

  /** A piece took so long, beside others or while nobody waited for it. */
  computed(tokens: number, milliseconds: number): void {
    const most = this.#mostMilliseconds;
    // The end of a prompt is smaller than it could have been and says little of larger ones, unless it took too long.
    const isEnd = tokens < Math.min(this.tokens, this.#last?.tokens ?? 0) && (most === null || milliseconds <= most);
    if (milliseconds > 0 && !isEnd) this.#last = { tokens, milliseconds };
  }

  /** Milliseconds that a piece may take; null: no step was measured yet. */
  get #mostMilliseconds(): number | null {
    if (this.#steps.length === 0) return null;
    const sorted = this.#steps.toSorted((a, b) => a - b);
    const step = sorted[Math.floor(sorted.length / 2)];
    return Math.max(0, (this.#options.maxStepMs ?? MOST_STEPS * step) - step);
  }
}
