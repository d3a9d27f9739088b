/**
 * Merges the splits of decode attention exactly, in their order.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import { unroll } from "../unroll.ts";
import source from "./latent_merge.wgsl" with { type: "text" };
import { MOST_SPLITS, partialWidth, splitCount, SPLITS_WGSL } from "./splits.ts";

/** Sums that are read before any is used; divides MOST_SPLITS. */
const AT_ONCE = 8;
/** Columns of a workgroup, one per thread; at least MOST_SPLITS. */
const COLUMNS = 64;

/** partial: [rows, heads, MOST_SPLITS, partialWidth] → y: [rows, heads, valueWidth]. */
export const latentMerge: Kernel<{ readonly heads: number; readonly valueWidth: number }, "step" | "partial" | "y", "rows"> = {
  name: "latent_merge",
  bindings: { step: "read", partial: "read", y: "read_write" },
  params: ["rows"],
  wgsl: ({ heads, valueWidth }) =>
    constants({ HEADS: heads, VALUE_WIDTH: valueWidth, PARTIAL_WIDTH: partialWidth(valueWidth), AT_ONCE, COLUMNS }) + SPLITS_WGSL +
    unroll(source, { AT_ONCE }),
  workgroups: ({ heads, valueWidth }, { rows }) => [ceilDiv(valueWidth, COLUMNS), rows * heads, 1],
  sizes: ({ heads, valueWidth }, { rows }) => ({
    step: rows * 16,
    partial: rows * heads * MOST_SPLITS * partialWidth(valueWidth) * 4,
    y: rows * heads * valueWidth * 4,
  }),
  reference({ heads, valueWidth }, { step, partial, y }, { rows }) {
    const width = partialWidth(valueWidth);
    for (let item = 0; item < rows * heads; item++) {
      const splits = splitCount(step.u32[Math.floor(item / heads) * 4 + 1] + 1);
      const from = item * MOST_SPLITS * width;
      let largest = -Infinity;
      for (let s = 0; s < splits; s++) largest = Math.max(largest, partial.f32[from + s * width + valueWidth]);
      const weights = Float64Array.from({ length: splits }, (_, s) => Math.exp(partial.f32[from + s * width + valueWidth] - largest));
      const total = weights.reduce((sum, weight, s) => sum + weight * partial.f32[from + s * width + valueWidth + 1], 0);
      for (let c = 0; c < valueWidth; c++) {
        y.f32[item * valueWidth + c] = weights.reduce((sum, weight, s) => sum + weight * partial.f32[from + s * width + c], 0) / total;
      }
    }
  },
};
