/**
 * A decode group whose ranks live in this process: the same rank models that separate workers run, with sums in memory instead of on the wire. It is what exactness
 * is tested and drift is measured with.
 *
 * @module
 */
import { invariant } from "../core/errors.ts";
import type { Readback } from "../kernels/device.ts";
import type { CachedSequence } from "./latent_cache.ts";
import type { Model } from "./model.ts";

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
  readonly #ranks: readonly Model[];
  readonly #deltas: readonly Readback[];

  private constructor(ranks: readonly Model[], deltas: readonly Readback[]) {
    this.#ranks = ranks;
    this.#deltas = deltas;
  }

  /** @param ranks one model per rank, in rank order, loaded with the shapes of one partition */
  static async create(ranks: readonly Model[]): Promise<LocalGroup> {
    invariant(ranks.length > 0, "a group has at least one rank");
    return new LocalGroup(ranks, await Promise.all(ranks.map((rank) => rank.device.createReadback("delta", rank.delta.bytes))));
  }

  /** Begins a sequence on every rank. */
  open(): GroupSequence {
    return this.#ranks.map((rank) => rank.cache.open());
  }

  /** Gives a sequence back on every rank. */
  close(sequence: GroupSequence): void {
    sequence.forEach((part, rank) => this.#ranks[rank].cache.close(part));
  }

  /**
   * Runs one decode step; blocks for its tokens are taken here.
   *
   * @returns logits [rows, vocabulary]
   */
  async step(rows: readonly GroupRow[]): Promise<Float32Array> {
    const steps = this.#ranks.map((rank, i) => {
      for (const { sequence } of rows) {
        rank.cache.grow(sequence[i], 1);
        sequence[i].length++;
      }
      return { phase: "decode" as const, rows: rows.map(({ token, position, sequence }) => ({ token, position, sequence: sequence[i] })) };
    });
    const each = (record: (rank: Model, i: number) => void) => this.#ranks.forEach(record);
    each((rank, i) => rank.recordEmbedding(steps[i]));
    for (let layer = 0; layer < this.#ranks[0].spec.layers; layer++) {
      each((rank, i) => rank.recordAttention(layer, steps[i]));
      await this.#allReduce(rows.length);
      each((rank, i) => {
        rank.recordResidual(steps[i]);
        rank.recordFeedForward(layer, steps[i]);
      });
      await this.#allReduce(rows.length);
      each((rank, i) => rank.recordResidual(steps[i]));
    }
    return await this.#logits(rows.length);
  }

  /** Sums every rank's delta in rank order and gives all of them the same bits. */
  async #allReduce(rows: number): Promise<void> {
    const bytes = rows * this.#ranks[0].spec.hiddenSize * 4;
    this.#ranks.forEach((rank, i) => {
      rank.device.read(this.#deltas[i], rank.delta, 0, bytes);
      rank.device.submit();
    });
    let sum: Float32Array<ArrayBuffer> | null = null;
    for (const delta of this.#deltas) {
      const part = new Float32Array((await delta.take()).slice().buffer);
      if (sum === null) sum = part;
      else for (let i = 0; i < sum.length; i++) sum[i] += part[i];
    }
    for (const rank of this.#ranks) rank.device.write(rank.delta, 0, sum!);
  }

  /** Every rank's rows of the vocabulary, side by side. */
  async #logits(rows: number): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    for (const rank of this.#ranks) {
      rank.head.recordLogits("decode", 0, rows);
      parts.push(await rank.head.logits(rows));
    }
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
}
