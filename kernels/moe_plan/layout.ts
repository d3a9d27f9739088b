/**
 * Where the routing plan of a batch lies in its buffer: `[tiles, 0, 0, 0, (expert, first, count) × mostTiles, item × items]`.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";

/** Items per tile of the tiled linear kernel. */
export const TILE_ITEMS = 32;
/** The same on matrix units, where weights are made f16 for every tile anew: for chunks in which experts have few items, and many. */
export const UNITS_TILE_ITEMS = { few: 64, many: 128 } as const;
/** Items of an expert, in the mean, from which on the longer tiles pay, though more of the last one of each expert is empty. */
const MANY_ITEMS = 256;

/** What a plan is laid out for. */
export interface MoePlan {
  /** Most (token, expert) pairs. */
  readonly items: number;
  readonly experts: number;
  readonly tileItems: number;
}

/** The plans that chunks of up to so many items may get, see {@link planFor}. */
export function plansFor(items: number, experts: number, matrixUnits: boolean): readonly MoePlan[] {
  const { few, many } = UNITS_TILE_ITEMS;
  const sizes = !matrixUnits ? [TILE_ITEMS] : items >= MANY_ITEMS * experts && experts > 0 ? [few, many] : [few];
  return sizes.map((tileItems) => ({ items, experts, tileItems }));
}

/** Which of {@link plansFor} a chunk of `items` gets. A result is the same to the last bit in tiles of any size. */
export function planFor(plans: readonly MoePlan[], items: number): MoePlan {
  return items >= MANY_ITEMS * plans[0].experts ? plans.at(-1)! : plans[0];
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
