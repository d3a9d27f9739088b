/**
 * How far a mixed unit is with the chunk that it computes between steps, a few layers at a time, and how long that takes.
 *
 * @module
 */
import type { PrefillChunk } from "../scheduler/state.ts";
import type { ChunkSize } from "./chunk_costs.ts";
import { ChunkSizes, type ChunkSizesOptions } from "./chunk_sizes.ts";

/** Layers of a chunk, half-open. */
export interface ChunkLayers {
  readonly first: number;
  readonly end: number;
}

/** How far a chunk is. */
interface ChunkProgress {
  /** Layers that are computed or under way. */
  layers: number;
  /** Milliseconds of those that are computed. */
  milliseconds: number;
  /** Whether that is all they took, and nothing of another chunk. */
  exact: boolean;
}

/** Turns of one unit's chunks. */
export class ChunkTurns {
  readonly #sizes: ChunkSizes;
  readonly #layers: number;
  readonly #progress = new WeakMap<PrefillChunk, ChunkProgress>();
  /** Layers that are not known to be computed: whatever comes next is computed behind them. */
  #underWay: { readonly chunk: PrefillChunk; readonly since: number } | null = null;

  constructor(options: ChunkSizesOptions) {
    this.#sizes = new ChunkSizes(options);
    this.#layers = options.layers;
  }

  /** Most tokens of the next chunk while others generate. @param start positions of its prompt before it */
  tokensAt(start: number): number {
    return this.#sizes.tokensAt(start);
  }

  /** Tokens of the chunk of which layers are under way; 0: none are. */
  get tokensUnderWay(): number {
    return this.#underWay?.chunk.count ?? 0;
  }

  /** Layers of a chunk that are next. @param others whether others generate, who wait for them */
  next(chunk: PrefillChunk, others: boolean): ChunkLayers {
    const progress = this.#progressOf(chunk);
    const { layers: first } = progress;
    return { first, end: others ? first + this.#sizes.layersOf(sizeOf(chunk), progress) : this.#layers };
  }

  /** Whether layers are the last of their chunk. */
  ends({ end }: ChunkLayers): boolean {
    return end === this.#layers;
  }

  /** Layers were begun with. @param since milliseconds, on the clock that {@link done} is told */
  begun(chunk: PrefillChunk, { end }: ChunkLayers, since: number): void {
    const progress = this.#progressOf(chunk);
    progress.layers = end;
    if (this.#underWay?.chunk === chunk) return;
    // Which of the two takes how long is not known.
    if (this.#underWay !== null) this.#progressOf(this.#underWay.chunk).exact = progress.exact = false;
    this.#underWay = { chunk, since };
  }

  /** Layers that were begun with are computed. */
  done(now: number): void {
    const { chunk, since } = this.#underWay!;
    this.#underWay = null;
    const progress = this.#progressOf(chunk);
    // What follows was quicker than such work is: how long this took cannot be told.
    if (now < since) progress.exact = false;
    progress.milliseconds += Math.max(0, now - since);
    if (progress.layers === this.#layers && progress.exact) this.#sizes.computed(sizeOf(chunk), progress.milliseconds);
  }

  /** A step is computed, and what was under way before it: that took what the step took longer than others. */
  stepped(started: number, ended: number): void {
    if (this.#underWay === null) this.#sizes.stepped(ended - started);
    else this.done(ended - this.#sizes.stepMs);
  }

  /** What was under way is lost. */
  lost(): void {
    this.#underWay = null;
  }

  #progressOf(chunk: PrefillChunk): ChunkProgress {
    const known = this.#progress.get(chunk);
    if (known !== undefined) return known;
    const progress = { layers: 0, milliseconds: 0, exact: true };
    this.#progress.set(chunk, progress);
    return progress;
  }
}

function sizeOf({ count: tokens, start }: PrefillChunk): ChunkSize {
  return { tokens, start };
}
