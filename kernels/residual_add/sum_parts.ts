/**
 * Adds up what the ranks of a unit have computed of a block's output, by itself.
 *
 * @module
 */
import type { Kernel } from "../authoring/contract.ts";
import { type RankPartsBindings, type RankPartsConfig, rankPartsSizes, sumRankParts, wasmSumParts } from "../rank_parts/rank_parts.ts";
import { withSummedValues } from "./summed_values.ts";
import source from "./sum_parts.wgsl" with { type: "text" };

/** y = Σ parts; y: [rows, width]. */
export const sumParts: Kernel<RankPartsConfig, "y" | RankPartsBindings, "rows"> = {
  name: "sum_parts",
  bindings: { own: "read", others: "read", y: "read_write" },
  ...withSummedValues(source),
  sizes: (config, { rows }) => ({ ...rankPartsSizes(config, rows), y: rows * config.width * 4 }),
  reference(config, { y, own, others }, { rows }) {
    y.f32.set(sumRankParts(config, { own, others }, rows));
  },
  wasm: (config) => (binding) => {
    const sum = wasmSumParts(binding, config, binding.at.y);
    return ({ rows }) => sum(rows);
  },
};
