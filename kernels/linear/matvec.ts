/**
 * Linear layer for decode: few items, every weight read once per {@link MatvecConfig.itemsAtOnce} items.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import { weightFormatWgsl } from "../weight_format/weight_format.ts";
import input from "./input.wgsl" with { type: "text" };
import { inputConstants, LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams, linearSizes } from "./linear.ts";
import source from "./matvec.wgsl" with { type: "text" };
import { multiply } from "./reference.ts";
import { matrixOf, matrixOfWgsl } from "./select.ts";

/** {@link LinearConfig}, and how many items share a read of the weights (1 unless `select` is `all`). */
export interface MatvecConfig extends LinearConfig {
  readonly itemsAtOnce: number;
}

const OUTPUTS_AT_ONCE = 4;

/** y[item, first_output + o] = Σ_k W[matrix of item][o, k] · x[input of item, k]. */
export const matvec: Kernel<MatvecConfig, LinearBindings, LinearParams> = {
  name: "matvec",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl: (config) =>
    constants({ OUTPUTS: config.outputs, OUTPUTS_AT_ONCE, ITEMS_AT_ONCE: config.itemsAtOnce }) + inputConstants(config) +
    matrixOfWgsl(config.select) + weightFormatWgsl(config.layout) + input + source,
  workgroups: (config, params) => [ceilDiv(params.part_outputs, OUTPUTS_AT_ONCE), ceilDiv(params.items, config.itemsAtOnce), 1],
  sizes: (config, params) => linearSizes(config, params, params.items),
  reference(config, buffers, params) {
    for (let first = 0; first < params.items;) {
      const matrix = matrixOf(config.select, first, buffers.routes.u32);
      const items = config.select.kind === "all" ? Array.from({ length: params.items }, (_, i) => i) : [first];
      first += items.length;
      if (matrix < params.first_matrix || matrix >= params.first_matrix + params.matrices) continue;
      multiply(config, buffers, {
        firstWeightRow: (matrix - params.first_matrix) * config.outputs,
        weightRows: params.part_outputs,
        firstOutput: params.first_output,
        items,
      });
    }
  },
};
