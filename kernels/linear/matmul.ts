/**
 * Linear layer for prefill: tiles of {@link TILE_ITEMS} items. With `select: expert` the tiles are those of the routing plan (kernels/moe_plan), so that
 * no tile mixes experts and none is padded beyond its own last row.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type MoePlan, planOf, readTiles, TILE_ITEMS } from "../moe_plan/layout.ts";
import { unroll } from "../authoring/unroll.ts";
import { weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import { inputWgsl, LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams, linearSizes } from "./linear.ts";
import source from "./matmul.wgsl" with { type: "text" };
import { multiply } from "./reference.ts";
import { linearProgram, plannedBatches } from "./wasm.ts";
import tilesAll from "./tiles_all.wgsl" with { type: "text" };
import tilesExpert from "./tiles_expert.wgsl" with { type: "text" };

/** {@link LinearConfig} for tiles; `select: head` is decode's alone. */
export interface MatmulConfig extends LinearConfig {
  readonly select: Exclude<LinearConfig["select"], { kind: "head" }>;
  /** What the plan was laid out for (`select: expert`). */
  readonly plan: MoePlan | null;
}

/** Threads that share four items. */
const LANES = 16;

/** Fours of outputs per thread, so that few are idle where a matrix has few. */
function outputQuads({ outputs }: MatmulConfig): number {
  return outputs > 4 * LANES ? 2 : 1;
}

/** `tile_of(index)` and `item_of(tile, i)`: the items that are multiplied together. Reads the constant `TILE_ITEMS`. */
export function tilesWgsl({ select, plan }: MatmulConfig): string {
  return constants({ PLAN_ITEMS: plan === null ? 0 : planOf(plan).items }) + (select.kind === "all" ? tilesAll : tilesExpert);
}

/** y[item, first_output + o] = Σ_k W[matrix of item][o, k] · x[input of item, k]. */
export const matmul: Kernel<MatmulConfig, LinearBindings, LinearParams> = {
  name: "matmul",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl(config) {
    const numbers = { OUTPUTS: config.outputs, TILE_ITEMS: config.plan?.tileItems ?? TILE_ITEMS, LANES, OUTPUT_QUADS: outputQuads(config) };
    return constants(numbers) + weightFormatWgsl(config.layout) + inputWgsl(config) + tilesWgsl(config) + unroll(source, numbers);
  },
  workgroups: (config, params) => [
    ceilDiv(params.part_outputs, 4 * LANES * outputQuads(config)),
    config.plan === null ? ceilDiv(params.items, TILE_ITEMS) : planOf({ ...config.plan, items: params.items }).mostTiles,
    1,
  ],
  sizes: (config, params) => linearSizes(config, params, config.plan === null ? 0 : planOf(config.plan).words),
  reference(config, buffers, params) {
    const tiles = config.plan === null
      ? [{ matrix: 0, items: Array.from({ length: params.items }, (_, i) => i) }]
      : readTiles(config.plan, buffers.routes.u32);
    for (const { matrix, items } of tiles) {
      if (matrix < params.first_matrix || matrix >= params.first_matrix + params.matrices) continue;
      multiply(config, buffers, {
        firstWeightRow: (matrix - params.first_matrix) * config.outputs,
        weightRows: params.part_outputs,
        firstOutput: params.first_output,
        items,
      });
    }
  },
  wasm: (config) => linearProgram(config, plannedBatches(config.plan), "linear_int4"),
};
