/**
 * How much of a prompt a mixed unit computes between two steps, so that the streams that are running there do not stand still for long, and yet the prompt gets on.
 * What chunks and steps take is measured: it depends on the device, the batch, and how far into a prompt a chunk is.
 *
 * @module
 */
import { ChunkCosts, type ChunkSize } from "./chunk_costs.ts";

/** A gap between two tokens is a chunk and a step; by default it is at most so many steps, if that is enough for a chunk. */
const MOST_STEPS = 3;
/** Steps whose median is taken. */
const STEPS = 15;
/** Tokens of a chunk before anything is measured. */
const FIRST = 64;
/** Tokens of the smallest chunk: below, weights are read for next to nothing. */
const LEAST = 16;
/** How much larger the next chunk may be than the last ones. */
const GROWTH = 2;
/** Of much smaller chunks than those that were measured too little is known: they are begun with carefully. */
const MUCH_SMALLER = 1 / 2;

/** Sizes of {@link ChunkSizes}. */
export interface ChunkSizesOptions {
  /** Most tokens of a chunk. */
  readonly most: number;
  /** Most milliseconds of a chunk and a step; undefined: three steps. */
  readonly maxStepMs: number | undefined;
}

/** Sizes of one unit's chunks. */
export class ChunkSizes {
  readonly #options: ChunkSizesOptions;
  /** Milliseconds of the last steps. */
  readonly #steps: number[] = [];
  readonly #costs = new ChunkCosts();

  constructor(options: ChunkSizesOptions) {
    this.#options = options;
  }

  /**
   * Most tokens of the next chunk while others generate.
   *
   * @param start positions of its prompt before it
   */
  tokensAt(start: number): number {
    const { most } = this.#options;
    const step = this.#step;
    if (step === null || !this.#costs.known) return Math.min(FIRST, most);
    const { perToken, largest, smallest } = this.#costs;
    const before = this.#costs.before(start);
    const fitting = perToken === 0 ? Infinity : (this.#mostMilliseconds(step, before) - before) / perToken;
    const next = fitting < smallest * MUCH_SMALLER ? fitting / 2 : Math.min(fitting, largest * GROWTH);
    return Math.min(most, Math.max(LEAST, Math.floor(next)));
  }

  /** A step took so long. */
  stepped(milliseconds: number): void {
    this.#steps.push(milliseconds);
    if (this.#steps.length > STEPS) this.#steps.shift();
  }

  /** A chunk took so long, beside others or while nobody waited for it. */
  computed(chunk: ChunkSize, milliseconds: number): void {
    this.#costs.add(chunk, milliseconds);
  }

  /**
   * Milliseconds of a chunk. What every chunk takes before its first token may be more than the limit allows, or nearly as much: then smaller ones would keep streams
   * waiting hardly less each time and more often, so a chunk takes as long again for its tokens. Where nobody has set the limit, that goes before it.
   *
   * @param before what it takes whatever its size
   */
  #mostMilliseconds(step: number, before: number): number {
    const { maxStepMs } = this.#options;
    const limit = (maxStepMs ?? MOST_STEPS * step) - step;
    const keepsLimit = maxStepMs !== undefined && before + this.#costs.perToken * LEAST <= limit;
    return keepsLimit ? limit : Math.max(limit, 2 * before);
  }

  /** Milliseconds of a step; null: none was measured yet. */
  get #step(): number | null {
    if (this.#steps.length === 0) return null;
    return this.#steps.toSorted((a, b) => a - b)[Math.floor(this.#steps.length / 2)];
  }
}
