/**
 * Adds the last block's output, of which every rank has computed a part, to the residual stream.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type RankPartsBindings, type RankPartsConfig, rankPartsSizes, rankPartsWgsl, sumRankParts } from "../rank_parts/rank_parts.ts";
import { valuesPerRead } from "../rms_norm/rms_norm.ts";
import source from "./residual_sum.wgsl" with { type: "text" };

const THREADS = 64;

/** x += Σ parts; x: [rows, width]. */
export const residualSum: Kernel<RankPartsConfig, "x" | RankPartsBindings, "rows"> = {
  name: "residual_sum",
  bindings: { own: "read", others: "read", x: "read_write" },
  params: ["rows"],
  wgsl(config) {
    const values = valuesPerRead(config.width);
    return constants({ THREADS }) + `alias Values = ${values === 4 ? "vec4<f32>" : "f32"};\n` + rankPartsWgsl(config, values, { own: 1, others: 2 }) +
      source;
  },
  workgroups: ({ width }, { rows }) => [ceilDiv(width / valuesPerRead(width), THREADS), rows, 1],
  sizes: (config, { rows }) => ({ ...rankPartsSizes(config, rows), x: rows * config.width * 4 }),
  reference(config, { x, own, others }, { rows }) {
    const sum = sumRankParts(config, { own, others }, rows);
    for (let i = 0; i < sum.length; i++) x.f32[i] += sum[i];
  },
};
