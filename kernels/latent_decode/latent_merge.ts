/**
 * Merges the splits of decode attention exactly, in their order.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../core/numeric.ts";
import { constants, type Kernel, type Workgroups } from "../authoring/contract.ts";
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import type { LatentDecodeConfig } from "./latent_decode.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import source from "./latent_merge.wgsl" with { type: "text" };
import mergedF16 from "./merged_f16.wgsl" with { type: "text" };
import mergedF32 from "./merged_f32.wgsl" with { type: "text" };
import weighedApart from "./weighed_apart.wgsl" with { type: "text" };
import { contextOf, partialWidth, splitCount, splitsWgsl, type Splitting } from "./splits.ts";

/** Sums that are read before any is used. */
const AT_ONCE = 8;
/** Columns of a workgroup. */
const COLUMNS = 64;

/** Configuration of {@link latentMerge}: that of the attention before it, and in what precision y is; in f16 `valueWidth` is even. */
export type LatentMergeConfig = Splitting & Pick<LatentDecodeConfig, "heads" | "valueWidth"> & { readonly output: "f32" | "f16" };

/** Columns of a thread: those of a word of y. */
function columnsEach(output: LatentMergeConfig["output"]): number {
  return output === "f16" ? 2 : 1;
}

/** The shader. @param weighed sections that say how splits are weighed */
export function mergeWgsl({ heads, valueWidth, output, ...splitting }: LatentMergeConfig, weighed: string): string {
  const numbers = {
    EACH: columnsEach(output),
    HEADS: heads,
    VALUE_WIDTH: valueWidth,
    PARTIAL_WIDTH: partialWidth(valueWidth),
    AT_ONCE,
    COLUMNS,
    PLACES: roundUp(splitting.mostSplits, AT_ONCE),
  };
  const filled = fill(source, { ...sectionsOf(output === "f16" ? mergedF16 : mergedF32), ...sectionsOf(weighed) });
  return constants(numbers) + splitsWgsl(splitting) + halves + unroll(filled, { AT_ONCE, EACH: columnsEach(output) });
}

/** Workgroups of such a shader. */
export function mergeWorkgroups({ heads, valueWidth }: LatentMergeConfig, rows: number): Workgroups {
  return [ceilDiv(valueWidth, COLUMNS), rows * heads, 1];
}

/** partial: [rows, heads, mostSplits, partialWidth] → y: [rows, heads, valueWidth]. */
export const latentMerge: Kernel<LatentMergeConfig, "step" | "partial" | "y", "rows"> = {
  name: "latent_merge",
  bindings: { step: "read", partial: "read", y: "read_write" },
  params: ["rows"],
  wgsl: (config) => mergeWgsl(config, weighedApart),
  workgroups: (config, { rows }) => mergeWorkgroups(config, rows),
  sizes: ({ heads, valueWidth, mostSplits, output }, { rows }) => ({
    step: rows * 16,
    partial: rows * heads * mostSplits * partialWidth(valueWidth) * 4,
    y: rows * heads * valueWidth * (output === "f16" ? 2 : 4),
  }),
  reference(config, { step, partial, y }, { rows }) {
    const { heads, valueWidth, mostSplits, output } = config;
    const to = output === "f16" ? y.f16 : y.f32;
    const width = partialWidth(valueWidth);
    for (let item = 0; item < rows * heads; item++) {
      const splits = splitCount(contextOf(step.u32, Math.floor(item / heads)), config);
      const from = item * mostSplits * width;
      let largest = -Infinity;
      for (let s = 0; s < splits; s++) largest = Math.max(largest, partial.f32[from + s * width + valueWidth]);
      const weights = Float64Array.from({ length: splits }, (_, s) => Math.exp(partial.f32[from + s * width + valueWidth] - largest));
      const total = weights.reduce((sum, weight, s) => sum + weight * partial.f32[from + s * width + valueWidth + 1], 0);
      for (let c = 0; c < valueWidth; c++) {
        to[item * valueWidth + c] = weights.reduce((sum, weight, s) => sum + weight * partial.f32[from + s * width + c], 0) / total;
      }
    }
  },
  wasm({ heads, valueWidth, usualSplits, mostSplits, stripTokens, output }) {
    if (valueWidth % 4 !== 0 || output === "f16" || usualSplits !== mostSplits) return null;
    return ({ at, allocate, reserve, call }) => {
      reserve(mostSplits * 4);
      const args = allocate(8);
      args.u32.set([at.step, at.partial, at.y, heads, valueWidth, partialWidth(valueWidth) * 4, mostSplits, stripTokens]);
      return ({ rows }) => call("latent_merge", args, rows * heads, valueWidth * 8);
    };
  },
};
