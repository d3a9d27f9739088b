/**
 * Which kernel decodes a step of so many rows.
 *
 * There are two arithmetics, and a model has one of them for all of its decode steps, since what a row gets must not depend on how many there are: f32, in one order
 * of additions that all kernels for it share; or on matrix units, inputs and weights rounded to f16, sums in f32. Which of its kernels runs is about time alone
 * (bench/NOTES.md, "Several rows"; `deno task bench linear` measures it).
 *
 * @module
 */
import { bitsPerWeight } from "../../core/model/packing.ts";
import { workgroupMemory } from "../authoring/contract.ts";
import { quadsPerVector } from "../authoring/weight_format/weight_format.ts";
import { type BatchDivision, batchMatvecBytes } from "./batch_matvec.ts";
import { fitsBatchUnits, type UnitsDivision, unitsThreads } from "./batch_units.ts";
import { kindOf, type LayerKind } from "./layer_kind.ts";
import type { LinearConfig } from "./linear.ts";
import { UNITS_TABLES } from "./units_table.ts";

/**
 * How a layer is decoded in steps of up to `upTo` rows: by `matvec`, `itemsAtOnce` sharing a read of the weights, with so many `threads` if another runs beside it;
 * by `batch_matvec`; or by `batch_units`.
 */
export type DecodeWay = { readonly upTo: number } & DecodeHow;

/** See {@link DecodeWay}. */
export type DecodeHow =
  | { readonly itemsAtOnce: number; readonly threads?: number; readonly division?: never; readonly units?: never }
  | { readonly division: BatchDivision; readonly itemsAtOnce?: never; readonly units?: never }
  | { readonly units: UnitsDivision; readonly itemsAtOnce?: never; readonly division?: never };

/** A layer, as far as the choice depends on it. */
export interface LayerShape extends Pick<LinearConfig, "layout" | "outputs" | "select"> {
  /** Of the stack. */
  readonly matrices: number;
  /** Whether it is computed in f32, whatever the others are. */
  readonly precise?: boolean;
}

/** What a choice is made for. */
export interface DecodeChoice {
  /** Most rows of a step. */
  readonly rows: number;
  /** Whether on matrix units, as far as a layer can be, see {@link paysOnUnits}. */
  readonly units: boolean;
  /** Bytes of workgroup memory that the device allows. */
  readonly workgroupLimit: number;
}

/** Rows from which on a model decodes on matrix units. */
const MANY_ROWS = 5;

/**
 * Whether a model whose steps may have so many rows decodes on matrix units, if they are there: then a step of many rows takes half the time and less. One of a single
 * row takes more than in f32, so that who decodes few at a time computes in f32.
 */
export function paysOnUnits(mostRows: number): boolean {
  return mostRows >= MANY_ROWS;
}

/** Least weights of a layer, and columns of its rows, for which tiles pay; heads read theirs from a cache. */
const LEAST_WEIGHTS = { narrow: 2 ** 20, wide: 2 ** 20, head: 2 ** 18, expertUp: 2 ** 20, expertDown: 2 ** 20 } as const;
const LEAST_COLUMNS = 256;
/** Rows that share a read of the weights where there are no tiles. */
const ITEMS_AT_ONCE = 4;

/** Threads alike, so that any two layers may run side by side. */
function tiles(passLanes: number, outputsEach: number, itemTeams: number, itemsEach: readonly number[]): BatchDivision {
  return { threads: 128, passLanes, outputsEach, itemTeams, itemsEach };
}

/** In f32: up to how many rows; what for, null being no tiles. Measured on an H200 (V2-Lite, bf16). */
const TABLE: Readonly<Record<LayerKind, readonly (readonly [upTo: number, division: BatchDivision | null])[]>> = {
  narrow: [[4, null], [16, tiles(32, 4, 1, [2, 4])], [Infinity, tiles(16, 4, 1, [4, 8])]],
  wide: [[32, tiles(16, 4, 1, [2, 4])], [Infinity, tiles(8, 4, 2, [4, 8])]],
  head: [[4, null], [16, tiles(32, 4, 1, [2, 4])], [32, tiles(16, 4, 1, [2, 4])], [Infinity, tiles(8, 4, 2, [4, 8])]],
  expertUp: [[2, null], [Infinity, tiles(16, 4, 1, [2, 4])]],
  expertDown: [[8, null], [32, tiles(16, 4, 1, [2, 4])], [Infinity, tiles(8, 4, 1, [2, 4, 6, 8])]],
};

/**
 * Ways to decode steps of a layer, by ascending number of rows.
 *
 * @param beside a layer that runs beside it; asked the other way round, the ways change at the same numbers of rows and have as many threads
 */
export function decodeWays(layer: LayerShape, { rows, units, workgroupLimit }: DecodeChoice, beside?: LayerShape): readonly DecodeWay[] {
  const both = beside === undefined ? [layer] : [layer, beside];
  return (units ? waysOnUnits(layer, both, rows, workgroupLimit) : null) ?? waysInF32(both, rows, workgroupLimit);
}

/** Null if a layer that need not be precise cannot be computed so, or none of them need not. */
function waysOnUnits(layer: LayerShape, both: readonly LayerShape[], rows: number, workgroupLimit: number): DecodeWay[] | null {
  const able = both.filter(({ precise = false }) => !precise);
  if (able.length === 0 || rows === 0) return null;
  const largest = largestOf(able);
  const table = UNITS_TABLES[bitsPerWeight(largest.layout.format)]?.[kindOf(largest)];
  if (table === undefined) return null;
  const used = table.slice(0, table.findIndex(([upTo]) => rows <= upTo) + 1);
  const fits = (division: UnitsDivision) =>
    able.every(({ layout, select }) => fitsBatchUnits({ layout, select, division, mostItems: rows }, workgroupLimit));
  if (!used.every(([, division]) => fits(division))) return null;
  return used.map(([upTo, division]) => ({
    upTo: Math.min(upTo, rows),
    ...(layer.precise ? { itemsAtOnce: itemsAtOnceOf(layer), threads: unitsThreads(division) } : { units: division }),
  }));
}

/** The same for both, as far as weights go: one row is decoded alone. */
function waysInF32(both: readonly LayerShape[], rows: number, workgroupLimit: number): DecodeWay[] {
  const largest = largestOf(both);
  const fits = (division: BatchDivision) =>
    both.every(({ layout, select }) => workgroupMemory(batchMatvecBytes({ layout, select, division, mostItems: rows })) <= workgroupLimit);
  const kind = kindOf(largest);
  const pays = weightsOf(largest) >= LEAST_WEIGHTS[kind] && largest.layout.columns >= LEAST_COLUMNS;
  const without = { itemsAtOnce: itemsAtOnceOf(largest) };
  const ways: DecodeWay[] = [];
  for (const [upTo, division] of [[1, null], ...(pays ? TABLE[kind] : [[Infinity, null] as const])] as const) {
    if (rows <= (ways.at(-1)?.upTo ?? 0)) break;
    const how: DecodeHow = upTo === 1 ? { itemsAtOnce: 1 } : division !== null && fits(division) ? { division } : without;
    if (how.itemsAtOnce !== undefined && how.itemsAtOnce === ways.at(-1)?.itemsAtOnce) ways.pop();
    ways.push({ upTo: Math.min(upTo, rows), ...how });
  }
  return ways;
}

/** How many tokens' queries share a read of the keys' projections (`absorb`), in steps of at least as many rows: what registers have room for. */
export function absorbedAtOnce({ layout, outputs, matrices }: Omit<LayerShape, "select">): number {
  return layout.columns * outputs * matrices < LEAST_WEIGHTS.head ? 1 : Math.min(4, 16 / quadsPerVector(layout.format));
}

function itemsAtOnceOf({ select }: LayerShape): number {
  return select.kind === "all" ? ITEMS_AT_ONCE : 1;
}

/** Of equally large ones, too, it is the same in any order of the layers, as far as a choice tells them apart. */
function largestOf(layers: readonly LayerShape[]): LayerShape {
  const kinds = Object.keys(LEAST_WEIGHTS);
  const measures = (layer: LayerShape) => [weightsOf(layer), bitsPerWeight(layer.layout.format), layer.layout.columns, kinds.indexOf(kindOf(layer))];
  return layers.reduce((a, b) => {
    const [ours, theirs] = [measures(a), measures(b)];
    const differs = ours.findIndex((measure, i) => measure !== theirs[i]);
    return differs >= 0 && theirs[differs] > ours[differs] ? b : a;
  });
}

function weightsOf({ layout, outputs, matrices }: LayerShape): number {
  return layout.columns * outputs * matrices;
}
