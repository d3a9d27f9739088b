/**
 * Where the routing plan of a batch lies in its buffer: `[tiles, 0, 0, 0, (expert, first, count) × mostTiles, item × items]`.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";

/** Items per tile of the tiled linear kernel. */
export const TILE_ITEMS = 32;
/** The same on matrix units, where weights are made f16 for every tile anew, and few experts have more items than that in a chunk. */
export const UNITS_TILE_ITEMS = 64;

/** What a plan is laid out for. */
export interface MoePlan {
  /** Most (token, expert) pairs. */
  readonly items: number;
  readonly experts: number;
  readonly tileItems: number;
}

/** Word offsets and sizes of a plan. */
export interface PlanLayout {
  /** Every expert may end in a tile that is not full. */
  readonly mostTiles: number;
  /** First word of the sorted items. */
  readonly items: number;
  readonly words: number;
}

/** Computes the layout. */
export function planOf(plan: MoePlan): PlanLayout {
  const mostTiles = Math.min(plan.items, ceilDiv(plan.items, plan.tileItems) + plan.experts);
  const items = 4 + mostTiles * 3;
  return { mostTiles, items, words: items + plan.items };
}

/** Reads a plan back. */
export function readTiles(plan: MoePlan, words: Uint32Array): { matrix: number; items: Uint32Array }[] {
  const layout = planOf(plan);
  return Array.from({ length: words[0] }, (_, t) => {
    const [matrix, first, count] = words.subarray(4 + t * 3, 7 + t * 3);
    return { matrix, items: words.subarray(layout.items + first, layout.items + first + count) };
  });
}
