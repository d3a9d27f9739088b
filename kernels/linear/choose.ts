/**
 * Which kernel decodes a step of so many rows. All give the same bits, so this is about time alone: `deno task bench linear` measures what the table says.
 *
 * @module
 */
import { type BatchDivision, batchMatvecBytes } from "./batch_matvec.ts";
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

/** Least weights of a layer, and columns of its rows, for which tiles pay. */
const [LEAST_WEIGHTS, LEAST_COLUMNS] = [2 ** 20, 256];
/** Outputs of a matrix that make workgroups enough, however many each of them takes. */
const WIDE = 16384;
/** Rows that share a read of the weights where there are no tiles. */
const ITEMS_AT_ONCE = 4;

/** Threads alike, so that any two layers may run side by side. */
function tiles(passLanes: number, outputsEach: number, itemTeams: number, itemsEach: readonly number[]): BatchDivision {
  return { threads: 128, passLanes, outputsEach, itemTeams, itemsEach };
}

/** Up to how many rows; what for, null being no tiles. */
const TABLE: Readonly<Record<"narrow" | "wide" | "head" | "expert", readonly (readonly [upTo: number, division: BatchDivision | null])[]>> = {
  narrow: [[8, tiles(16, 2, 1, [4, 8])], [Infinity, tiles(8, 4, 2, [4, 8])]],
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
    together.every(({ layout, select }) => {
      const bytes = batchMatvecBytes({ layout, select, division, mostItems: rows });
      return bytes.reduce((sum, each) => sum + each, 0) <= workgroupLimit;
    });
  const pays = weightsOf(largest) >= LEAST_WEIGHTS && largest.layout.columns >= LEAST_COLUMNS;
  const without = { itemsAtOnce: largest.select.kind === "all" ? ITEMS_AT_ONCE : 1 };
  const ways: DecodeWay[] = [];
  for (const [upTo, division] of [[1, null], ...(pays ? TABLE[kindOf(largest)] : [[Infinity, null] as const])] as const) {
    if (rows <= (ways.at(-1)?.upTo ?? 0)) break;
    const how: Omit<DecodeWay, "upTo"> = upTo === 1 ? { itemsAtOnce: 1 } : division !== null && fits(division) ? { division } : without;
    if (how.itemsAtOnce !== undefined && how.itemsAtOnce === ways.at(-1)?.itemsAtOnce) ways.pop();
    ways.push({ upTo: Math.min(upTo, rows), ...how });
  }
  return ways;
}

function weightsOf({ layout, outputs, matrices }: DecodeShape): number {
  return layout.columns * outputs * matrices;
}

function kindOf({ select, outputs }: DecodeShape): keyof typeof TABLE {
  if (select.kind !== "all") return select.kind;
  return outputs >= WIDE ? "wide" : "narrow";
}
