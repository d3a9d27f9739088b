/**
 * Adds the last block's output, of which every rank has computed a part, to the residual stream.
 *
 * @module
 */
import type { Kernel } from "../authoring/contract.ts";
import { type RankPartsBindings, type RankPartsConfig, rankPartsSizes, sumRankParts } from "../rank_parts/rank_parts.ts";
import { withSummedValues } from "./summed_values.ts";
import source from "./residual_sum.wgsl" with { type: "text" };

/** x += Σ parts; x: [rows, width]. */
export const residualSum: Kernel<RankPartsConfig, "x" | RankPartsBindings, "rows"> = {
  name: "residual_sum",
  bindings: { own: "read", others: "read", x: "read_write" },
  ...withSummedValues(source),
  sizes: (config, { rows }) => ({ ...rankPartsSizes(config, rows), x: rows * config.width * 4 }),
  reference(config, { x, own, others }, { rows }) {
    const sum = sumRankParts(config, { own, others }, rows);
    for (let i = 0; i < sum.length; i++) x.f32[i] += sum[i];
  },
};
