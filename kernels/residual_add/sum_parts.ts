/**
 * Adds up what the ranks of a unit have computed of a block's output, by itself.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { valuesPerRead } from "../rms_norm/rms_norm.ts";
import { type RankPartsBindings, type RankPartsConfig, rankPartsSizes, rankPartsWgsl, sumRankParts, wasmSumParts } from "../rank_parts/rank_parts.ts";
import source from "./sum_parts.wgsl" with { type: "text" };

const THREADS = 64;

/** y = Σ parts; y: [rows, width]. */
export const sumParts: Kernel<RankPartsConfig, "y" | RankPartsBindings, "rows"> = {
  name: "sum_parts",
  bindings: { own: "read", others: "read", y: "read_write" },
  params: ["rows"],
  wgsl(config) {
    const values = valuesPerRead(config.width);
    return constants({ THREADS }) + `alias Values = ${values === 4 ? "vec4<f32>" : "f32"};\n` + rankPartsWgsl(config, values, { own: 1, others: 2 }) +
      source;
  },
  workgroups: ({ width }, { rows }) => [ceilDiv(width / valuesPerRead(width), THREADS), rows, 1],
  sizes: (config, { rows }) => ({ ...rankPartsSizes(config, rows), y: rows * config.width * 4 }),
  reference(config, { y, own, others }, { rows }) {
    y.f32.set(sumRankParts(config, { own, others }, rows));
  },
  wasm: (config) => (binding) => {
    const sum = wasmSumParts(binding, config, binding.at.y);
    return ({ rows }) => sum(rows);
  },
};
