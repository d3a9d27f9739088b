/**
 * The columns that are wanted of a matrix in four bits, or in eight, and how they become what a device holds. Levels, scales and zero points stay as they are.
 *
 * @module
 */
import { ceilDiv, gcd, roundUp } from "../../numeric.ts";
import { type MatrixLayout, matrixLayout, type PackedRows, packRow, unpackRow, viewsOf } from "../packing.ts";
import type { Int4Rows, Int4Tensor } from "./int4_tensor.ts";

/** Columns `begin … end` of `stored`. */
export interface Int4Columns {
  readonly stored: number;
  readonly begin: number;
  readonly end: number;
}

/** Weights of four bits in a vector of sixteen bytes, which kernels read quickest if they share a scale. */
const VECTOR = 32;

/** Least columns that kernels can read a scale for. */
const LEAST_GROUP = 4;

/** How a device holds them; null if columns are cut where kernels cannot follow, and they must be widened. */
export function int4Layout({ format = "int4", group, scaling }: Int4Tensor, { begin, end }: Int4Columns): MatrixLayout | null {
  const columns = end - begin;
  // What is cut in the middle of a group has parts of groups on both sides of every multiple of a common divisor, and the scales once more.
  const common = Math.floor(begin / group) === Math.floor((end - 1) / group) ? roundUp(columns, VECTOR) : gcd(begin, group);
  return common % LEAST_GROUP === 0 ? matrixLayout(format, columns, common, scaling) : null;
}

/** Rows of a matrix, of which some columns are packed. */
export interface Int4Part {
  readonly tensor: Int4Tensor;
  readonly columns: Int4Columns;
  readonly rows: Int4Rows;
}

/**
 * Packs rows.
 *
 * @param layout what {@link int4Layout} gives, or any other, to which they are converted through float32
 * @param into zeroed
 * @param first row of `into` from which on they go
 */
export function packInt4(
  { tensor: { format = "int4", group, scaling }, columns, rows: { words, levels, scales } }: Int4Part,
  layout: MatrixLayout,
  into: PackedRows,
  first: number,
): void {
  const { stored, begin, end } = columns;
  const count = levels.length / words;
  if (layout.format === format) {
    const bytes = new Uint8Array(levels.buffer, levels.byteOffset, levels.byteLength);
    for (let row = 0; row < count; row++) {
      const to = into.data.subarray((first + row) * layout.rowBytes, (first + row + 1) * layout.rowBytes);
      const from = bytes.subarray(row * words * 4, (row + 1) * words * 4);
      if (format === "int8") to.set(from.subarray(begin, end));
      else copyLevels(from, columns, to);
    }
    spreadScales(scales, { group, ...columns }, layout, into.scales.subarray(first * layout.scaleRowBytes, (first + count) * layout.scaleRowBytes));
    return;
  }
  const native = { ...matrixLayout(format, stored, group, scaling), rowBytes: words * 4 };
  const nativeScales = new Uint8Array(count * native.scaleRowBytes);
  spreadScales(scales, { group, stored, begin: 0 }, native, nativeScales);
  const [data, scaleViews] = [viewsOf(levels), viewsOf(nativeScales)];
  const row = new Float32Array(stored);
  for (let i = 0; i < count; i++) {
    unpackRow(native, data, scaleViews, i, row);
    packRow(layout, row.subarray(begin, end), into, first + i);
  }
}

/** What lies behind a row, which is multiplied by zeros: two levels of 8, as made-up weights have it. */
const PADDING = 0x88;

function copyLevels(from: Uint8Array, { begin, end }: Int4Columns, to: Uint8Array): void {
  const columns = end - begin;
  if (begin % 2 === 0) to.set(from.subarray(begin / 2, ceilDiv(end, 2)));
  else for (let k = 0, at = begin; k < columns; k++, at++) to[k >> 1] |= ((from[at >> 1] >> (4 * (at & 1))) & 15) << (4 * (k & 1));
  to.fill(PADDING, ceilDiv(columns, 2));
  if (columns % 2 === 1) to[columns >> 1] = (to[columns >> 1] & 15) | (PADDING & 0xf0);
}

/** Every group of the layout has the scale of the stored one that it is in; what is left of a word, that of the last. */
function spreadScales(
  scales: Uint32Array,
  { group, stored, begin }: { readonly group: number; readonly stored: number; readonly begin: number },
  { columns, group: spreadGroup, scaling, scaleRowBytes }: MatrixLayout,
  into: Uint8Array<ArrayBuffer>,
): void {
  const halves = scaling === "f16" || scaling === "bf16";
  const { buffer, byteOffset, byteLength } = into;
  const spread = halves ? new Uint16Array(buffer, byteOffset, byteLength / 2) : new Uint32Array(buffer, byteOffset, byteLength / 4);
  const each = scaling === "f32-zero" ? 2 : 1;
  const perRow = scaleRowBytes / spread.BYTES_PER_ELEMENT / each;
  const [last, storedGroups] = [ceilDiv(columns, spreadGroup) - 1, ceilDiv(stored, group)];
  for (let row = 0; row * perRow * each < spread.length; row++) {
    for (let g = 0; g < perRow; g++) {
      const from = (row * storedGroups + Math.floor((begin + Math.min(g, last) * spreadGroup) / group)) * each;
      for (let i = 0; i < each; i++) spread[(row * perRow + g) * each + i] = scales[from + i];
    }
  }
}
