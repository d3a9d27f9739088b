/**
 * Token embeddings, bound: the table may lie in several parts.
 *
 * @module
 */
import { embedding, type EmbeddingParams } from "../../kernels/embedding/embedding.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext, Step, StepPart } from "./context.ts";
import type { ModelWeights } from "./weights.ts";

/** One part of the table. */
interface Part {
  readonly bound: BoundKernel<EmbeddingParams>;
  readonly first: number;
  readonly count: number;
}

/** Looks the tokens of a step up. */
export class TokenEmbedding implements StepPart {
  readonly #device: Device;
  readonly #parts: readonly Part[];

  private constructor(device: Device, parts: readonly Part[]) {
    this.#device = device;
    this.#parts = parts;
  }

  /** Compiles and binds. @param y takes the rows, [rows, D] */
  static async create(
    { device, limits, activations: { step } }: ModelContext,
    { embedding: table, spec }: ModelWeights,
    y: DeviceBuffer,
  ): Promise<TokenEmbedding> {
    const compiled = await device.compile(embedding, { layout: table.layout, scale: spec.embeddingScale });
    const items = mostRows(limits);
    const parts = table.parts.map(({ first, count, weights, scales }) => ({
      bound: compiled.bind({ weights, scales, step, y }, { items, first_row: first, part_rows: count }),
      first,
      count,
    }));
    return new TokenEmbedding(device, parts);
  }

  /** Records the rows of a step whose words are written. */
  record({ rows: { length: items } }: Step): void {
    for (const { bound, first, count } of this.#parts) this.#device.run(bound, { items, first_row: first, part_rows: count });
  }
}
