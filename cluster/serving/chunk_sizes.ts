/**
 * How much of a prompt a mixed unit computes between two steps, so that the streams that are running there do not stand still for long, and yet the prompt gets on.
 * Small chunks would do the first: every one of them reads all weights. So chunks are some times as large, and steps run between their layers ("layered prefill",
 * https://arxiv.org/abs/2510.08055). What chunks and steps take is measured: it depends on the device, the batch, and how far into a prompt a chunk is.
 *
 * @module
 */
import { ChunkCosts, type ChunkSize } from "./chunk_costs.ts";

/**
 * A gap between two tokens is layers of a chunk and a step; by default it is planned to be so many steps at most, if that is enough: with what is not planned, it is
 * less than three (bench/NOTES.md).
 */
export const MOST_STEPS = 2.5;
/** Most turns of a chunk: with more the weights are read still less often, but other prompts wait for its end. */
const MOST_TURNS = 8;
/** What turns are planned to take of what they may: costs are known to some hundredths, and a turn with a layer less would leave much of its time unused. */
const AIM = 0.95;
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
  /** Layers of the model. */
  readonly layers: number;
  /** Most milliseconds of a chunk's layers and a step; undefined: {@link MOST_STEPS} steps. */
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
    const tokens = Math.min(most, Math.max(LEAST, Math.floor(next)));
    // Chunks of one size do not tell what is due to tokens, which are blamed for all of it: where they just fill the time, no other size would ever be tried.
    return tokens === largest && tokens === smallest && tokens < most ? Math.max(LEAST, tokens >> 1) : tokens;
  }

  /**
   * Layers of a chunk that are computed next while others generate: as many as streams can wait for, and in turns of about the same length.
   *
   * @param computed layers, and milliseconds that they took: what others are going to take, if more than was expected
   */
  layersOf({ tokens, start }: ChunkSize, computed: { readonly layers: number; readonly milliseconds: number }): number {
    const step = this.#step;
    const { layers } = this.#options;
    const left = layers - computed.layers;
    if (step === null || !this.#costs.known) return left;
    const expected = (this.#costs.before(start) + this.#costs.perToken * tokens) / layers;
    const perLayer = Math.max(expected, computed.layers === 0 ? 0 : computed.milliseconds / computed.layers);
    // As far as is known of it, it takes no time.
    if (perLayer === 0) return left;
    const fitting = Math.max(1, Math.floor(this.#limit(step) / perLayer));
    return Math.ceil(left / Math.ceil(left / fitting));
  }

  /** Milliseconds of a step by itself; 0 if none was measured. */
  get stepMs(): number {
    return this.#step ?? 0;
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
   * Milliseconds of a chunk, in all of its turns. What every chunk takes before its first token may be more than the limit allows, or nearly as much: then smaller ones
   * would keep streams waiting hardly less each time and more often, so a chunk takes as long again for its tokens. Where nobody has set the limit, that goes before it.
   *
   * @param before what it takes whatever its size
   */
  #mostMilliseconds(step: number, before: number): number {
    const { maxStepMs, layers } = this.#options;
    // Whole layers fill a turn.
    const turns = layers / Math.ceil(layers / MOST_TURNS);
    const most = turns * this.#limit(step) * (turns === 1 ? 1 : AIM);
    const keepsLimit = maxStepMs !== undefined && before + this.#costs.perToken * LEAST <= most;
    return keepsLimit ? most : Math.max(most, 2 * before);
  }

  /** Milliseconds of a chunk between two steps. */
  #limit(step: number): number {
    return (this.#options.maxStepMs ?? MOST_STEPS * step) - step;
  }

  /** Milliseconds of a step; null: none was measured yet. */
  get #step(): number | null {
    if (this.#steps.length === 0) return null;
    return this.#steps.toSorted((a, b) => a - b)[Math.floor(this.#steps.length / 2)];
  }
}
