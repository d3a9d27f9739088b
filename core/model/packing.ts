/**
 * How weight matrices lie in device memory, and the conversions between that and float32.
 *
 * Every format stores rows padded to 16 bytes, so that a kernel can read any row in aligned 32-bit words. Scaled formats have one scale per
 * `group` consecutive columns of a row: float32 for fp8 (the checkpoint's own scales), float16 for q8 and q4, and for int4 and int8, whose levels, scales and zero
 * points are a checkpoint's own, too, what the layout says.
 *
 * @module
 */
import { ceilDiv, F16_VALUES, FP8_E4M3_VALUES, halfBits, roundUp, toHalfBits } from "../numeric.ts";

/** Storage format of a weight matrix on a device. */
export type WeightFormat = "f32" | "f16" | "bf16" | "fp8" | "q8" | "q4" | "int4" | "int8";

/**
 * How scales are stored. With `zero`, a scale is the lower half of a word whose upper half is the zero point of its group, or a word before another, a float, which is
 * subtracted from levels; without, 8 is subtracted from those of four bits, 0 … 15, and nothing from those of eight, −128 … 127.
 */
export type Scaling = "none" | "f32" | "f16" | "bf16" | "f16-zero" | "bf16-zero" | "f32-zero";

/** Columns that share a scale in q8 and q4. */
export const QUANT_GROUP = 64;

/** Geometry of a packed matrix. */
export interface MatrixLayout {
  readonly format: WeightFormat;
  readonly columns: number;
  /** Columns per scale; 0 for unscaled formats. */
  readonly group: number;
  readonly scaling: Scaling;
  /** Bytes from one row to the next; a multiple of 16. */
  readonly rowBytes: number;
  /** Bytes of scales from one row to the next; a multiple of 4, 0 for unscaled formats. */
  readonly scaleRowBytes: number;
}

const BITS: Readonly<Record<WeightFormat, number>> = { f32: 32, f16: 16, bf16: 16, fp8: 8, q8: 8, q4: 4, int4: 4, int8: 8 };

const SCALINGS: Readonly<Record<WeightFormat, Scaling>> = {
  f32: "none",
  f16: "none",
  bf16: "none",
  fp8: "f32",
  q8: "f16",
  q4: "f16",
  int4: "bf16",
  int8: "f16",
};

/** Bytes of a scale, with its zero point. */
const SCALE_BYTES: Readonly<Record<Scaling, number>> = { none: 0, f32: 4, f16: 2, bf16: 2, "f16-zero": 4, "bf16-zero": 4, "f32-zero": 8 };

/** Bits that a weight takes, without its share of a scale. */
export function bitsPerWeight(format: WeightFormat): number {
  return BITS[format];
}

/**
 * The layout of a matrix with `columns` inputs.
 *
 * @param group required for fp8, int4 and int8, and ignored elsewhere
 * @param scaling of int4 and int8: how their checkpoint has scales
 */
export function matrixLayout(format: WeightFormat, columns: number, group = 0, scaling: Scaling = SCALINGS[format]): MatrixLayout {
  const own = format === "fp8" || format === "int4" || format === "int8";
  const effectiveGroup = own ? group : format === "q8" || format === "q4" ? QUANT_GROUP : 0;
  const groups = effectiveGroup === 0 ? 0 : ceilDiv(columns, effectiveGroup);
  return {
    format,
    columns,
    group: effectiveGroup,
    scaling,
    rowBytes: roundUp(ceilDiv(columns * BITS[format], 8), 16),
    scaleRowBytes: roundUp(groups * SCALE_BYTES[scaling], 4),
  };
}

/** Same layout, so that rows of both can stand in one matrix. */
export function sameLayout(a: MatrixLayout, b: MatrixLayout): boolean {
  return a.format === b.format && a.columns === b.columns && a.group === b.group && a.scaling === b.scaling;
}

/** Some rows of a packed matrix. */
export interface PackedRows {
  readonly rows: number;
  /** [rows, layout.rowBytes] */
  readonly data: Uint8Array<ArrayBuffer>;
  /** [rows, layout.scaleRowBytes] */
  readonly scales: Uint8Array<ArrayBuffer>;
}

/** Zeroed space for `rows` rows. */
export function allocateRows(layout: MatrixLayout, rows: number): PackedRows {
  return { rows, data: new Uint8Array(rows * layout.rowBytes), scales: new Uint8Array(rows * layout.scaleRowBytes) };
}

/** Packs float32 rows ([rows, columns]); fp8, int4 and int8 are storage formats of checkpoints only and cannot be packed to. */
export function packRows(layout: MatrixLayout, values: Float32Array, rows: number): PackedRows {
  const packed = allocateRows(layout, rows);
  for (let row = 0; row < rows; row++) {
    packRow(layout, values.subarray(row * layout.columns, (row + 1) * layout.columns), packed, row);
  }
  return packed;
}

/** Packs float32 values into one row. @param into zeroed */
export function packRow(layout: MatrixLayout, values: Float32Array, into: PackedRows, row: number): void {
  const start = row * layout.rowBytes;
  switch (layout.format) {
    case "f32":
      new Float32Array(into.data.buffer, into.data.byteOffset + start, layout.columns).set(values);
      return;
    case "f16":
      new Uint16Array(into.data.buffer, into.data.byteOffset + start, layout.columns).set(toHalfBits(values));
      return;
    case "bf16": {
      const bits = new Uint32Array(Float32Array.from(values).buffer);
      new Uint16Array(into.data.buffer, into.data.byteOffset + start, layout.columns).set(bits.map(roundToBfloat16));
      return;
    }
    case "q8":
    case "q4":
      quantizeRow(layout, values, into, row);
      return;
    case "fp8":
    case "int4":
    case "int8":
      throw new TypeError(`float32 values cannot be packed to ${layout.format}`);
    default:
      layout.format satisfies never;
  }
}

/** Upper half of a float32, rounded to nearest even. */
function roundToBfloat16(bits: number): number {
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

function quantizeRow(layout: MatrixLayout, values: Float32Array, into: PackedRows, row: number): void {
  const scales = new Uint16Array(into.scales.buffer, into.scales.byteOffset + row * layout.scaleRowBytes, layout.scaleRowBytes / 2);
  const four = layout.format === "q4";
  const [least, most] = four ? [-8, 7] : [-127, 127];
  const start = row * layout.rowBytes;
  for (let g = 0, begin = 0; begin < layout.columns; g++, begin += layout.group) {
    const end = Math.min(begin + layout.group, layout.columns);
    const scaleBits = halfBits(four ? fourBitScale(values, begin, end) : eightBitScale(values, begin, end));
    scales[g] = scaleBits;
    const inverse = F16_VALUES[scaleBits] === 0 ? 0 : 1 / F16_VALUES[scaleBits];
    for (let column = begin; column < end; column++) {
      const level = clampedLevel(values[column] * inverse, least, most);
      if (four) into.data[start + (column >> 1)] |= (level + 8) << ((column & 1) * 4);
      else into.data[start + column] = level & 0xff;
    }
  }
}

/** Nearest level within bounds; loops over weights are hot enough that `Math.round`, `Math.min` and `Math.max` would dominate loading. */
function clampedLevel(value: number, least: number, most: number): number {
  const level = Math.floor(value + 0.5);
  return level < least ? least : level > most ? most : level;
}

/** The largest magnitude becomes 127. */
function eightBitScale(values: Float32Array, begin: number, end: number): number {
  let largest = 0;
  for (let i = begin; i < end; i++) {
    const magnitude = values[i] < 0 ? -values[i] : values[i];
    if (magnitude > largest) largest = magnitude;
  }
  return largest / 127;
}

/** Which level the largest magnitude may become; the best is kept. */
const FOUR_BIT_STEPS = [6.5, 7.25, 8, 8.75];

/** Sixteen levels −8…7: the sign of the scale puts −8 on the larger side, and its size is the one of {@link FOUR_BIT_STEPS} with the least squared error. */
function fourBitScale(values: Float32Array, begin: number, end: number): number {
  let extreme = 0;
  for (let i = begin; i < end; i++) if (Math.abs(values[i]) > Math.abs(extreme)) extreme = values[i];
  if (extreme === 0) return 0;
  let [best, leastError] = [0, Infinity];
  for (const steps of FOUR_BIT_STEPS) {
    const scale = -extreme / steps;
    const inverse = 1 / scale;
    let error = 0;
    for (let i = begin; i < end; i++) {
      const difference = values[i] - scale * clampedLevel(values[i] * inverse, -8, 7);
      error += difference * difference;
    }
    if (error < leastError) [best, leastError] = [scale, error];
  }
  return best;
}

/** Typed views of a packed matrix, for {@link unpackRow}. */
export interface MatrixViews {
  readonly f32: Float32Array;
  readonly u16: Uint16Array;
  readonly u8: Uint8Array;
}

/** Views of the same bytes, which begin at a multiple of 4. */
export function viewsOf({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>): MatrixViews {
  return {
    f32: new Float32Array(buffer, byteOffset, Math.floor(byteLength / 4)),
    u16: new Uint16Array(buffer, byteOffset, Math.floor(byteLength / 2)),
    u8: new Uint8Array(buffer, byteOffset, byteLength),
  };
}

/**
 * Widens columns of one row into `out`.
 *
 * @param data all rows of the matrix, [rows, layout.rowBytes]
 * @param scales all scales, [rows, layout.scaleRowBytes]
 * @param out at least `layout.columns` long
 */
export function unpackRow(layout: MatrixLayout, data: MatrixViews, scales: MatrixViews, row: number, out: Float64Array | Float32Array): void {
  const { columns, group, rowBytes, scaleRowBytes } = layout;
  const start = row * rowBytes;
  switch (layout.format) {
    case "f32":
      for (let k = 0, at = start / 4; k < columns; k++) out[k] = data.f32[at + k];
      return;
    case "f16":
      for (let k = 0, at = start / 2; k < columns; k++) out[k] = F16_VALUES[data.u16[at + k]];
      return;
    case "bf16":
      for (let k = 0, at = start / 2; k < columns; k++) out[k] = fromBfloat16(data.u16[at + k]);
      return;
    case "fp8":
      for (let begin = 0, at = (row * scaleRowBytes) / 4; begin < columns; begin += group, at++) {
        const scale = scales.f32[at];
        for (let k = begin, end = Math.min(begin + group, columns); k < end; k++) out[k] = FP8_E4M3_VALUES[data.u8[start + k]] * scale;
      }
      return;
    case "q8":
      for (let begin = 0, at = (row * scaleRowBytes) / 2; begin < columns; begin += group, at++) {
        const scale = F16_VALUES[scales.u16[at]];
        for (let k = begin, end = Math.min(begin + group, columns); k < end; k++) out[k] = ((data.u8[start + k] << 24) >> 24) * scale;
      }
      return;
    case "q4":
      for (let begin = 0, at = (row * scaleRowBytes) / 2; begin < columns; begin += group, at++) {
        const scale = F16_VALUES[scales.u16[at]];
        for (let k = begin, end = Math.min(begin + group, columns); k < end; k++) {
          out[k] = (((data.u8[start + (k >> 1)] >> ((k & 1) * 4)) & 15) - 8) * scale;
        }
      }
      return;
    case "int4":
      for (let begin = 0, g = 0; begin < columns; begin += group, g++) {
        const [scale, zero] = scaleOf(layout, scales, row, g);
        for (let k = begin, end = Math.min(begin + group, columns); k < end; k++) {
          out[k] = Math.fround(((data.u8[start + (k >> 1)] >> ((k & 1) * 4)) & 15) - zero) * scale;
        }
      }
      return;
    case "int8":
      for (let begin = 0, g = 0; begin < columns; begin += group, g++) {
        const [scale, zero] = scaleOf(layout, scales, row, g);
        for (let k = begin, end = Math.min(begin + group, columns); k < end; k++) {
          out[k] = Math.fround(((data.u8[start + k] << 24) >> 24) - zero) * scale;
        }
      }
      return;
    default:
      layout.format satisfies never;
  }
}

/** A scale of int4 or int8, and what is subtracted from its levels. */
function scaleOf({ format, scaling, scaleRowBytes }: MatrixLayout, { f32, u16 }: MatrixViews, row: number, group: number): readonly [number, number] {
  const [halves, words] = [row * scaleRowBytes / 2, row * scaleRowBytes / 4];
  const middle = format === "int4" ? 8 : 0;
  switch (scaling) {
    case "f32":
      return [f32[words + group], middle];
    case "f32-zero":
      return [f32[words + 2 * group], f32[words + 2 * group + 1]];
    case "f16":
      return [F16_VALUES[u16[halves + group]], middle];
    case "bf16":
      return [fromBfloat16(u16[halves + group]), middle];
    case "f16-zero":
      return [F16_VALUES[u16[halves + 2 * group]], u16[halves + 2 * group + 1]];
    case "bf16-zero":
      return [fromBfloat16(u16[halves + 2 * group]), u16[halves + 2 * group + 1]];
    case "none":
      throw new TypeError(`${format} without scales`);
    default:
      return scaling satisfies never;
  }
}

/** The number that the upper half of a float32 is. */
export function fromBfloat16(bits: number): number {
  WORD_BITS[0] = bits << 16;
  return WORD_FLOAT[0];
}

const WORD_BITS = new Uint32Array(1);
const WORD_FLOAT = new Float32Array(WORD_BITS.buffer);
