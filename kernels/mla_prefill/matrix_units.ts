/**
 * Prefill attention on matrix units (`chromium-experimental-subgroup-matrix`): keys and values come in f16, queries and weights are rounded to it, scores and sums
 * are f32.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import referenceShift from "../authoring/reference_shift.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import allTokens from "./units_all_tokens.wgsl" with { type: "text" };
import source from "./matrix_units.wgsl" with { type: "text" };
import { attendRows, mlaPrefill, type MlaPrefillBindings, type MlaPrefillConfig, type MlaPrefillParams } from "./mla_prefill.ts";

/** How a workgroup is divided into subgroups of 32. */
export interface PrefillDivision {
  /** Parts of the queries. */
  readonly rowParts: number;
  /** Tiles of 16 queries in each part: a subgroup that has several loads keys and values from workgroup memory once for them all. */
  readonly rowTiles: number;
  /** Subgroups that share a part: for the scores, parts of a tile's keys; for the sums, of the value columns. */
  readonly parts: number;
  /** Keys of a tile. */
  readonly keys: number;
}

/** Configuration of {@link mlaPrefillMatrix}. */
export interface MlaPrefillMatrixConfig extends MlaPrefillConfig {
  readonly division: PrefillDivision;
}

/** Where things lie in workgroup memory, in vectors of 16 bytes, as the shader lays them out. */
interface Layout {
  readonly rows: number;
  readonly threads: number;
  readonly lanes: number;
  readonly keyStride: number;
  readonly valuesAt: number;
  readonly scoresAt: number;
  readonly weightsAt: number;
  readonly weightStride: number;
  /** Whether weights take the place of the scores that they are made of. */
  readonly inPlace: boolean;
  readonly end: number;
}

function layOut({ nopeWidth, ropeWidth, valueWidth }: MlaPrefillConfig, { rowParts, rowTiles, parts, keys }: PrefillDivision): Layout {
  const rows = rowParts * rowTiles * 16;
  const threads = rowParts * parts * 32;
  const lanes = threads / rows;
  const keyStride = (nopeWidth + ropeWidth) / 8 | 1;
  // Sums on their way out are where keys are: a tile of 16 x 16 for each subgroup.
  const valuesAt = Math.max(keys * keyStride, threads / 32 * 64);
  const scoresAt = valuesAt + keys * (valueWidth / 8 | 1);
  const scoreStride = keys / 4 + 1;
  const inPlace = keys / lanes === 16;
  const afterScores = scoresAt + rows * scoreStride;
  const weightStride = inPlace ? scoreStride : keys / 8 | 1;
  return {
    rows,
    threads,
    lanes,
    keyStride,
    valuesAt,
    scoresAt,
    weightsAt: inPlace ? scoresAt : afterScores,
    weightStride,
    inPlace,
    end: inPlace ? afterScores : afterScores + rows * weightStride,
  };
}

/** As {@link mlaPrefill}, with keys, rope_keys and values in f16; `state` is [reference in powers of two, sum of weights]. */
export const mlaPrefillMatrix: Kernel<MlaPrefillMatrixConfig, MlaPrefillBindings, MlaPrefillParams> = {
  name: "mla_prefill",
  // Keys and values are not written; the shader says what this is for.
  bindings: { ...mlaPrefill.bindings, keys: "read_write", rope_keys: "read_write", values: "read_write" },
  params: mlaPrefill.params,
  wgsl: (config) => unitsWgsl(config, allTokens),
  workgroups: ({ heads, split, division }, { rows, first, end }) => [
    heads,
    ceilDiv(rows, division.rowParts * division.rowTiles * 16),
    ceilDiv(end - first, split),
  ],
  sizes(config, params) {
    const { keys, rope_keys, values, ...rest } = mlaPrefill.sizes(config, params);
    return { ...rest, keys: keys / 2, rope_keys: rope_keys / 2, values: values / 2 };
  },
  reference: (config, { q, keys, rope_keys, values, state, out }, params) =>
    attendRows(config, { q: q.f32, keys: keys.f16, ropeKeys: rope_keys.f16, values: values.f16, state: state.f32, out: out.f32 }, params),
};

/** The source. @param attends sections by which rows attend to what they see, or to less */
export function unitsWgsl(config: MlaPrefillMatrixConfig, attends: string): string {
  const { heads, nopeWidth, ropeWidth, valueWidth, scale, split, division } = config;
  const { rowParts, rowTiles, parts, keys } = division;
  const { rows, threads, lanes, keyStride, valuesAt, scoresAt, weightsAt, weightStride, inPlace, end } = layOut(config, division);
  const width = nopeWidth + ropeWidth;
  const span = threads / keys;
  const loads = (width: number) => ceilDiv(width / 8, span);
  let stagedParts = rowParts;
  while (stagedParts * rowTiles * 16 * keyStride > end) stagedParts /= 2;
  const stagedRows = stagedParts * rowTiles * 16;
  const numbers = {
    HEADS: heads,
    NOPE: nopeWidth,
    ROPE: ropeWidth,
    VALUE: valueWidth,
    SPLIT: split,
    ROWS: rows,
    KEYS: keys,
    ROW_PARTS: rowParts,
    ROW_TILES: rowTiles,
    PARTS: parts,
    THREADS: threads,
    LANES: lanes,
    SPAN: span,
    QUERY_STEPS: width / 16,
    KEY_STEPS: keys / 16 / parts,
    KEY_TILES: keys / 16,
    COLUMN_STEPS: valueWidth / 16 / parts,
    PAIRS: keys / lanes / 8,
    NOPE_LOADS: loads(nopeWidth),
    ROPE_LOADS: loads(ropeWidth),
    VALUE_LOADS: loads(valueWidth),
    STAGED_ROWS: stagedRows,
    QUERY_ROUNDS: rows / stagedRows,
    QUERY_LOADS: ceilDiv(stagedRows * width / 8, threads),
    VALUES_AT: valuesAt,
    SCORES_AT: scoresAt,
    WEIGHTS_AT: weightsAt,
    WEIGHT_STRIDE: weightStride,
    LANE_WEIGHTS: inPlace ? 4 : keys / lanes / 8,
    TILE_WEIGHTS: inPlace ? 4 : 2,
    TILES: end,
    // Words of bits, beyond one, that positions of a thread may be in.
    CHOSEN_REST: split % 32 === 0 ? 0 : 1,
  };
  const { kernel, ...sections } = sectionsOf(source);
  return constants(numbers, { SCALE: scale * Math.LOG2E }) + halves +
    unroll(fill(kernel, { ...sections, ...sectionsOf(attends), reference_shift: referenceShift }), numbers);
}

/** Registers that a thread may have for queries, sums and scores, of 255: what is under way and addresses need the others. */
const MOST_REGISTERS = 200;

/** The best first, as far as that was measured (bench/NOTES.md). */
export const PREFILL_DIVISIONS: readonly PrefillDivision[] = [
  { rowParts: 4, rowTiles: 2, parts: 2, keys: 32 },
  { rowParts: 8, rowTiles: 1, parts: 1, keys: 32 },
  { rowParts: 4, rowTiles: 1, parts: 2, keys: 32 },
  { rowParts: 4, rowTiles: 1, parts: 1, keys: 16 },
];

/** Whether heads can be divided so. @param workgroupLimit bytes of workgroup memory that the device allows */
export function prefillDivides(config: MlaPrefillConfig, division: PrefillDivision, workgroupLimit: number): boolean {
  const { nopeWidth, ropeWidth, valueWidth } = config;
  const { rowTiles, parts, keys } = division;
  const width = nopeWidth + ropeWidth;
  if (nopeWidth % 8 !== 0 || ropeWidth % 8 !== 0 || width % 16 !== 0 || valueWidth % (16 * parts) !== 0) return false;
  const registers = rowTiles * (width / 4 + valueWidth / parts / 2 + keys / parts / 2);
  const { end, rows } = layOut(config, division);
  return registers <= MOST_REGISTERS && end * 16 + rows * 4 + 16 <= workgroupLimit;
}

/** How to divide such heads; null if matrix units cannot attend with them. @param workgroupLimit bytes of workgroup memory that the device allows */
export function dividePrefill(config: MlaPrefillConfig, workgroupLimit: number): PrefillDivision | null {
  return PREFILL_DIVISIONS.find((division) => prefillDivides(config, division, workgroupLimit)) ?? null;
}
