/**
 * Prefill attention on matrix units (`chromium-experimental-subgroup-matrix`): queries, keys, values and weights are rounded to f16, scores and sums are f32.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import halves from "../halves.wgsl" with { type: "text" };
import referenceShift from "../reference_shift.wgsl" with { type: "text" };
import { fill } from "../sections.ts";
import { unroll } from "../unroll.ts";
import source from "./matrix_units.wgsl" with { type: "text" };
import { mlaPrefill, type MlaPrefillBindings, type MlaPrefillConfig, type MlaPrefillParams } from "./mla_prefill.ts";

/** Subgroups of a workgroup: tiles of 16 queries, times parts of a tile's keys, 16 each, and of the value columns. */
const ROW_PARTS = 4;
const PARTS = 2;
const ROWS = 16 * ROW_PARTS;
const KEYS = 16 * PARTS;
const THREADS = 32 * ROW_PARTS * PARTS;
/** Wider heads would not leave a subgroup registers enough for its queries and sums. */
const MOST_WIDTH = 256;

/** As {@link mlaPrefill}, for heads that {@link prefillFitsMatrixUnits}; `state` is [reference in powers of two, sum of weights]. */
export const mlaPrefillMatrix: Kernel<MlaPrefillConfig, MlaPrefillBindings, MlaPrefillParams> = {
  name: "mla_prefill",
  // Keys and values are not written; the shader says what this is for.
  bindings: { ...mlaPrefill.bindings, keys: "read_write", rope_keys: "read_write", values: "read_write" },
  params: mlaPrefill.params,
  wgsl({ heads, nopeWidth, ropeWidth, valueWidth, scale }) {
    const loads = (width: number) => ceilDiv(KEYS * width / 8, THREADS);
    const numbers = {
      HEADS: heads,
      NOPE: nopeWidth,
      ROPE: ropeWidth,
      VALUE: valueWidth,
      ROW_PARTS,
      PARTS,
      QUERY_STEPS: (nopeWidth + ropeWidth) / 16,
      COLUMN_STEPS: valueWidth / 16 / PARTS,
      NOPE_LOADS: loads(nopeWidth),
      ROPE_LOADS: loads(ropeWidth),
      VALUE_LOADS: loads(valueWidth),
      PAIRS: KEYS * ROWS / THREADS / 2,
      SCORE_PADDING: scorePadding(nopeWidth + ropeWidth, valueWidth),
    };
    return constants(numbers, { SCALE: scale * Math.LOG2E }) + halves + unroll(fill(source, { reference_shift: referenceShift }), numbers);
  },
  workgroups: ({ heads }, { rows }) => [ceilDiv(rows, ROWS), heads, 1],
  sizes: mlaPrefill.sizes,
  reference: mlaPrefill.reference,
};

/** Whether matrix units can attend with such heads. @param workgroupLimit bytes of workgroup memory that the device allows */
export function prefillFitsMatrixUnits({ nopeWidth, ropeWidth, valueWidth }: MlaPrefillConfig, workgroupLimit: number): boolean {
  const width = nopeWidth + ropeWidth;
  const tiled = nopeWidth % 8 === 0 && width % 16 === 0 && valueWidth % (16 * PARTS) === 0;
  return tiled && Math.max(width, valueWidth) <= MOST_WIDTH && workgroupBytes(width, valueWidth) <= workgroupLimit;
}

/** Floats between rows of scores: 8 keep rows in different banks, and 4, which nearly do, let the widest heads fit 48 KiB. */
function scorePadding(width: number, valueWidth: number): number {
  return width + valueWidth > 448 ? 4 : 8;
}

/** As the shader lays it out. */
function workgroupBytes(width: number, valueWidth: number): number {
  const row = (width: number) => (width / 8 | 1) * 16;
  return KEYS * (row(width) + row(valueWidth)) + Math.max(ROWS * (KEYS + scorePadding(width, valueWidth)), 8 * THREADS) * 4 + ROWS * (KEYS + 8) * 2 +
    ROWS * 4 + 16;
}
