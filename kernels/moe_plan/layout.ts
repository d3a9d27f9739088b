/**
 * Where the routing plan of a batch lies in its buffer: `[tiles, 0, 0, 0, (expert, first, count) × mostTiles, item × items]`.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";

/** Items per tile of the tiled linear kernel. */
export const TILE_ITEMS = 32;
/**
 * The same on matrix units, by ascending mean of items that an expert has. Weights are made f16 for every tile anew, so one tile is to take all items of an expert;
 * and what a tile lacks is multiplied nevertheless.
 */
const UNITS_TILES: readonly { readonly upTo: number; readonly tileItems: number }[] = [
  { upTo: 24, tileItems: 32 },
  { upTo: 256, tileItems: 64 },
  { upTo: Infinity, tileItems: 128 },
];
/** Items that a tile of experts can have on matrix units. */
export const UNITS_TILE_ITEMS: readonly number[] = UNITS_TILES.map(({ tileItems }) => tileItems);

/** What a plan is laid out for. */
export interface MoePlan {
  /** Most (token, expert) pairs. */
  readonly items: number;
  readonly experts: number;
  readonly tileItems: number;
}

/** The plans that chunks of up to so many items may get, see {@link planFor}. */
export function plansFor(items: number, experts: number, matrixUnits: boolean): readonly MoePlan[] {
  const longest = unitsTileFor(items, experts);
  const sizes = matrixUnits ? UNITS_TILE_ITEMS.filter((tileItems) => tileItems <= longest) : [TILE_ITEMS];
  return sizes.map((tileItems) => ({ items, experts, tileItems }));
}

/** Which of {@link plansFor} a chunk of `items` gets. A result is the same to the last bit in tiles of any size. */
export function planFor(plans: readonly MoePlan[], items: number): MoePlan {
  const wanted = unitsTileFor(items, plans[0].experts);
  return plans.find(({ tileItems }) => tileItems === wanted) ?? plans[0];
}

function unitsTileFor(items: number, experts: number): number {
  return UNITS_TILES.find(({ upTo }) => items < upTo * experts || experts === 0)!.tileItems;
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
