/**
 * Which kernel decodes a step of so many rows. All give the same bits, so this is about time alone. What the table says was computed (bench/NOTES.md, "Several
 * rows"); `deno task bench linear` measures it.
 *
 * @module
 */
import { workgroupMemory } from "../contract.ts";
import { type BatchDivision, batchMatvecBytes } from "./batch_matvec.ts";
import { quadsPerVector } from "../weight_format/weight_format.ts";
import type { LinearConfig } from "./linear.ts";

/** How a layer is decoded in steps of up to `upTo` rows: by `matvec`, `itemsAtOnce` sharing a read of the weights, or by `batch_matvec`. */
export interface DecodeWay {
  readonly upTo: number;
  readonly itemsAtOnce?: number;
  readonly division?: BatchDivision;
}

/** A layer, as far as the choice depends on it. */
export interface DecodeShape extends Pick<LinearConfig, "layout" | "outputs" | "select"> {
  /** Of the stack. */
  readonly matrices: number;
}

/** Least weights of a layer, and columns of its rows, for which tiles pay; heads read theirs from a cache. */
const LEAST_WEIGHTS = { narrow: 2 ** 20, wide: 2 ** 20, head: 2 ** 18, expert: 2 ** 20 } as const;
const LEAST_COLUMNS = 256;
/** Outputs of a matrix that make workgroups enough, however many each of them takes. */
const WIDE = 16384;
/** Rows that share a read of the weights where there are no tiles. */
const ITEMS_AT_ONCE = 4;

/** Threads alike, so that any two layers may run side by side. */
function tiles(passLanes: number, outputsEach: number, itemTeams: number, itemsEach: readonly number[]): BatchDivision {
  return { threads: 128, passLanes, outputsEach, itemTeams, itemsEach };
}

/** Up to how many rows; what for, null being no tiles. */
const TABLE: Readonly<Record<keyof typeof LEAST_WEIGHTS, readonly (readonly [upTo: number, division: BatchDivision | null])[]>> = {
  narrow: [[16, tiles(16, 2, 1, [4, 8])], [Infinity, tiles(8, 4, 2, [4, 8])]],
  wide: [[8, tiles(8, 4, 1, [4, 8])], [Infinity, tiles(8, 4, 2, [4, 8])]],
  head: [[4, null], [Infinity, tiles(8, 4, 2, [4, 8])]],
  expert: [[2, null], [20, tiles(8, 4, 1, [1, 2, 4])], [Infinity, tiles(8, 4, 1, [2, 4, 6, 8])]],
};

/**
 * Ways to decode steps of up to `rows` rows, by ascending number of rows. One row is always decoded alone.
 *
 * @param together layers that run side by side, and so change their kernels together
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function decodeWays(together: readonly DecodeShape[], rows: number, workgroupLimit: number): DecodeWay[] {
  const largest = together.reduce((a, b) => (weightsOf(b) > weightsOf(a) ? b : a));
  const fits = (division: BatchDivision) =>
    together.every(({ layout, select }) => workgroupMemory(batchMatvecBytes({ layout, select, division, mostItems: rows })) <= workgroupLimit);
  const kind = kindOf(largest);
  const pays = weightsOf(largest) >= LEAST_WEIGHTS[kind] && largest.layout.columns >= LEAST_COLUMNS;
  const without = { itemsAtOnce: largest.select.kind === "all" ? ITEMS_AT_ONCE : 1 };
  const ways: DecodeWay[] = [];
  for (const [upTo, division] of [[1, null], ...(pays ? TABLE[kind] : [[Infinity, null] as const])] as const) {
    if (rows <= (ways.at(-1)?.upTo ?? 0)) break;
    const how: Omit<DecodeWay, "upTo"> = upTo === 1 ? { itemsAtOnce: 1 } : division !== null && fits(division) ? { division } : without;
    if (how.itemsAtOnce !== undefined && how.itemsAtOnce === ways.at(-1)?.itemsAtOnce) ways.pop();
    ways.push({ upTo: Math.min(upTo, rows), ...how });
  }
  return ways;
}

/** How many tokens' queries share a read of the keys' projections (`absorb`), in steps of at least as many rows: what registers have room for. */
export function absorbedAtOnce({ layout, outputs, matrices }: Omit<DecodeShape, "select">): number {
  return layout.columns * outputs * matrices < LEAST_WEIGHTS.head ? 1 : Math.min(4, 16 / quadsPerVector(layout.format));
}

function weightsOf({ layout, outputs, matrices }: DecodeShape): number {
  return layout.columns * outputs * matrices;
}

function kindOf({ select, outputs }: DecodeShape): keyof typeof LEAST_WEIGHTS {
  if (select.kind !== "all") return select.kind;
  return outputs >= WIDE ? "wide" : "narrow";
}
