/**
 * Which items a workgroup of the kernels for several items of a matrix multiplies, and how many workgroups there are.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Params, type Workgroups } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import itemsAll from "./batch_items_all.wgsl" with { type: "text" };
import itemsExpert from "./batch_items_expert.wgsl" with { type: "text" };
import itemsHead from "./batch_items_head.wgsl" with { type: "text" };
import type { LinearConfig, LinearParams } from "./linear.ts";

/** What it depends on. */
export interface BatchItemsConfig extends Pick<LinearConfig, "select"> {
  /** Most items that one matrix of a stack may have. */
  readonly mostItems: number;
}

/** Routes that a thread asks for together. */
const ROUTES_AT_ONCE = 4;

/** `matrix_of_group`, `output_tile_of`, `items_of` and `item_at`. Reads the constants `THREADS`, `TILE_ITEMS` and `OUTPUT_TILES`. */
export function batchItemsWgsl({ select, mostItems }: BatchItemsConfig): string {
  switch (select.kind) {
    case "all":
      return itemsAll;
    case "head":
      return constants({ HEADS: select.heads }) + itemsHead;
    case "expert":
      return constants({ MOST_ITEMS: mostItems, ROUTES_AT_ONCE }) + unroll(itemsExpert, { ROUTES_AT_ONCE });
    default:
      return select satisfies never;
  }
}

/** Bytes of each of its variables in workgroup memory. */
export function foundBytes({ select, mostItems }: BatchItemsConfig): readonly number[] {
  return select.kind === "expert" ? [mostItems * 4, 4, 4, 4] : [];
}

/** Workgroups for tiles of so many items and outputs. */
export function batchGrid(
  { select, outputs }: Pick<LinearConfig, "select" | "outputs">,
  tile: { readonly items: number; readonly outputs: number },
  params: Params<LinearParams>,
): Workgroups {
  const outputTiles = ceilDiv(outputs, tile.outputs);
  switch (select.kind) {
    // Tiles of the same outputs follow each other, so that the weights of one are in a cache for the next.
    case "all":
      return [ceilDiv(params.items, tile.items), ceilDiv(params.part_outputs, tile.outputs), 1];
    case "head":
      return [ceilDiv(params.items / select.heads, tile.items), outputTiles * select.heads, 1];
    case "expert":
      return [outputTiles, Math.min(params.items, params.matrices), 1];
    default:
      return select satisfies never;
  }
}
