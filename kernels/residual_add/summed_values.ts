/**
 * What kernels have in common that add up ranks' parts and do something with each value of the sum.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type RankPartsBindings, type RankPartsConfig, rankPartsWgsl } from "../rank_parts/rank_parts.ts";
import { valuesPerRead } from "../rms_norm/rms_norm.ts";

const THREADS = 64;

/** Shader and dispatch; `own` and `others` are bindings 1 and 2. @param source what is done with `summed(at)`, by a thread for each `Values` of a row */
export function withSummedValues(source: string): Pick<Kernel<RankPartsConfig, RankPartsBindings, "rows">, "params" | "wgsl" | "workgroups"> {
  return {
    params: ["rows"],
    wgsl(config) {
      const values = valuesPerRead(config.width);
      const alias = `alias Values = ${values === 4 ? "vec4<f32>" : "f32"};\n`;
      return constants({ THREADS }) + alias + rankPartsWgsl(config, values, { own: 1, others: 2 }) + source;
    },
    workgroups: ({ width }, { rows }) => [ceilDiv(width / valuesPerRead(width), THREADS), rows, 1],
  };
}
