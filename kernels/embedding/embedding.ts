/**
 * Looks token embeddings up.
 *
 * @module
 */
import { type MatrixLayout, unpackRow } from "../../core/model/packing.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import source from "./embedding.wgsl" with { type: "text" };

/** `first_row`, `part_rows`: which rows of the table are bound; tokens of other parts are left alone. */
export type EmbeddingParams = "items" | "first_row" | "part_rows";

/** How the table is stored, and what its rows are multiplied by. */
export interface EmbeddingConfig {
  readonly layout: MatrixLayout;
  readonly scale: number;
}

/** y[item] = scale · table[token of item]: [items, columns]; `step` is [items, 4] words, the token first. */
export const embedding: Kernel<EmbeddingConfig, "weights" | "scales" | "step" | "y", EmbeddingParams> = {
  name: "embedding",
  bindings: { weights: "read", scales: "read", step: "read", y: "read_write" },
  params: ["items", "first_row", "part_rows"],
  wgsl: ({ layout, scale }) => constants({}, { SCALE: scale }) + weightFormatWgsl(layout) + source,
  workgroups: ({ layout }, { items }) => [ceilDiv(layout.columns, 256), items, 1],
  sizes: ({ layout }, { items, part_rows }) => ({
    weights: part_rows * layout.rowBytes,
    scales: part_rows * layout.scaleRowBytes,
    step: items * 16,
    y: items * layout.columns * 4,
  }),
  reference({ layout, scale }, { weights, scales, step, y }, { items, first_row, part_rows }) {
    for (let item = 0; item < items; item++) {
      const row = step.u32[item * 4] - first_row;
      if (row < 0 || row >= part_rows) continue;
      const values = y.f32.subarray(item * layout.columns, (item + 1) * layout.columns);
      unpackRow(layout, weights, scales, row, values);
      if (scale !== 1) { for (let k = 0; k < values.length; k++) values[k] *= scale; }
    }
  },
};
