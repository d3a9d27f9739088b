/**
 * A decode group whose ranks live in this process: the same forward pass that separate workers run, with sums in memory instead of on the wire. It is what
 * exactness is tested and drift is measured with.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { LocalExchange } from "../collective/local_exchange.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { Model } from "../forward/model.ts";
import { RankForward } from "../roles/rank.ts";

/** One sequence on every rank. */
export type GroupSequence = readonly CachedSequence[];

/** One token of a group's step. */
export interface GroupRow {
  readonly token: number;
  readonly position: number;
  readonly sequence: GroupSequence;
}

/** Ranks that decode together. */
export class LocalGroup {
  readonly #ranks: readonly RankForward[];

  private constructor(ranks: readonly RankForward[]) {
    this.#ranks = ranks;
  }

  /** @param models one model per rank, in rank order, loaded with the shapes of one partition */
  static async create(models: readonly Model[]): Promise<LocalGroup> {
    invariant(models.length > 0, "a group has at least one rank");
    const exchange = new LocalExchange(models.length);
    return new LocalGroup(await Promise.all(models.map((model, rank) => RankForward.create(model, exchange.rank(rank)))));
  }

  /** Begins a sequence on every rank. @param promptTokens see `CachedSequence.promptTokens` */
  open(promptTokens = 0): GroupSequence {
    return this.#ranks.map(({ model }) => model.cache.open(promptTokens));
  }

  /** Gives a sequence back on every rank. */
  close(sequence: GroupSequence): void {
    sequence.forEach((part, rank) => this.#ranks[rank].model.cache.close(part));
  }

  /**
   * Runs one decode step; blocks for its tokens are taken here.
   *
   * @returns logits [rows, vocabulary]
   */
  async step(rows: readonly GroupRow[]): Promise<Float32Array> {
    const parts = await Promise.all(this.#ranks.map((rank, i) => rankLogits(rank, i, rows)));
    return sideBySide(parts, rows.length);
  }
}

/** One rank's logits: [rows, its share of the vocabulary]. */
async function rankLogits(rank: RankForward, index: number, rows: readonly GroupRow[]): Promise<Float32Array> {
  const { cache, head } = rank.model;
  for (const { sequence } of rows) {
    cache.grow(sequence[index], 1);
    sequence[index].length++;
  }
  await rank.run({ phase: "decode", rows: rows.map(({ token, position, sequence }) => ({ token, position, sequence: sequence[index] })) });
  head.recordLogits("decode", 0, rows.length);
  return await head.logits(rows.length);
}

function sideBySide(parts: readonly Float32Array[], rows: number): Float32Array {
  const vocabulary = parts.reduce((sum, part) => sum + part.length / rows, 0);
  const logits = new Float32Array(rows * vocabulary);
  for (let row = 0; row < rows; row++) {
    let at = row * vocabulary;
    for (const part of parts) {
      const width = part.length / rows;
      logits.set(part.subarray(row * width, (row + 1) * width), at);
      at += width;
    }
  }
  return logits;
}
