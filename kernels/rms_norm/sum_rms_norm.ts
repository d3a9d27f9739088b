/**
 * Adds a block's output, of which every rank has computed a part, to the residual stream and normalises it for the next block.
 *
 * @module
 */
import type { Kernel } from "../authoring/contract.ts";
import {
  type RankPartsBindings,
  type RankPartsConfig,
  rankPartsSizes,
  rankPartsWgsl,
  sumRankParts,
  wasmRankParts,
} from "../rank_parts/rank_parts.ts";
import { addRmsNorm, addRmsNormWgsl } from "./add_rms_norm.ts";
import summedParts from "./summed_parts.wgsl" with { type: "text" };
import { valuesPerRead } from "./rms_norm.ts";
import { normaliseRows } from "./wasm.ts";

/** The ranks, and the norm. */
export interface SumRmsNormConfig extends RankPartsConfig {
  readonly eps: number;
}

/** {@link addRmsNorm} of the sum of all ranks' parts: x += Σ parts, y = x / √(mean(x²) + eps) · gamma. */
export const sumRmsNorm: Kernel<SumRmsNormConfig, "x" | "gamma" | "y" | RankPartsBindings, "rows"> = {
  name: "sum_rms_norm",
  bindings: { x: "read_write", own: "read", gamma: "read", y: "read_write", others: "read" },
  params: ["rows"],
  wgsl: (config) => addRmsNormWgsl(config, rankPartsWgsl(config, valuesPerRead(config.width), { own: 2, others: 5 }) + summedParts),
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: (config, { rows }) => {
    const { x, gamma, y } = addRmsNorm.sizes(config, { rows });
    return { x, gamma, y, ...rankPartsSizes(config, rows) };
  },
  reference(config, { x, gamma, y, own, others }, { rows }) {
    addRmsNorm.reference(config, { x, delta: { ...own, f32: sumRankParts(config, { own, others }, rows) }, gamma, y }, { rows });
  },
  wasm: (config) => (binding) => {
    const { address, sum } = wasmRankParts(binding, config, binding.most.rows);
    const normalise = normaliseRows(binding, { ...binding.at, delta: address }, config);
    return ({ rows }) => {
      sum(rows);
      normalise(rows);
    };
  },
};
