/**
 * A linear layer with a matrix for each head, for many rows on matrix units: what sums of latents are projected to values with in prefill that absorbs.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearParams, linearSizes } from "./linear.ts";
import { type MatmulUnitsConfig, tileOf, unitsWgsl } from "./matmul_units.ts";
import { multiply } from "./reference.ts";
import tilesHead from "./tiles_head.wgsl" with { type: "text" };

/** As {@link MatmulUnitsConfig}, with items that are heads of rows, all in one part and without a plan. */
export interface HeadsUnitsConfig extends Omit<MatmulUnitsConfig, "select" | "plan"> {
  readonly select: { readonly kind: "head"; readonly heads: number };
  readonly output: "f32";
}

/** y[first_item + item, o] = Σ_k W[head of item][o, k] · x[item, k], x: [items, columns] in f16; an item is a head of a row. */
export const headsUnits: Kernel<HeadsUnitsConfig, LinearBindings, LinearParams | "first_item"> = {
  name: "heads_units",
  bindings: LINEAR_BINDINGS,
  params: [...LINEAR_PARAMS, "first_item"],
  wgsl(config) {
    const { select: { heads } } = config;
    const tiles = constants({ HEADS: heads }) + tilesHead;
    return unitsWgsl(config, { tiles, itemStep: heads, place: "params.first_item + item" });
  },
  workgroups({ select: { heads }, division, outputs }, { items }) {
    const tile = tileOf(division);
    return [ceilDiv(outputs, tile.outputs), ceilDiv(items / heads, tile.items) * heads, 1];
  },
  sizes(config, params) {
    const { y, ...inputs } = linearSizes(config, params, 0);
    return { ...inputs, y: y + params.first_item * config.outputs * 4 };
  },
  reference(config, buffers, { items, first_item }) {
    const { select: { heads }, outputs } = config;
    const y = { ...buffers.y, f32: buffers.y.f32.subarray(first_item * outputs) };
    for (let head = 0; head < heads; head++) {
      multiply(config, { ...buffers, y }, {
        firstWeightRow: head * outputs,
        weightRows: outputs,
        firstOutput: 0,
        items: Array.from({ length: items / heads }, (_, row) => row * heads + head),
      });
    }
  },
};
