/**
 * Random matrices in every storage format, and what they multiply to.
 *
 * @module
 */
import { allocateRows, type MatrixLayout, type PackedRows, packRows, type Scaling, unpackRow, type WeightFormat } from "../../core/model/packing.ts";
import { floatBits, FP8_E4M3_VALUES, halfBits } from "../../core/numeric.ts";
import type { LinearConfig } from "../../kernels/linear/linear.ts";
import type { Random } from "../../bench/support/random.ts";

/** A storage format, and of int4 and int8 how its scales are stored. */
export type Stored = readonly [format: WeightFormat, scaling?: Scaling];

/** Storage formats that a kernel for linear layers is tested with. */
export const ALL_STORED: readonly Stored[] = [
  ["f32"],
  ["f16"],
  ["bf16"],
  ["fp8"],
  ["q8"],
  ["q4"],
  ["int4", "bf16"],
  ["int4", "f16-zero"],
  ["int4", "f32-zero"],
  ["int8", "f32-zero"],
];

/** Ways in which int4 and int8 may have their scales. */
export const INT4_SCALINGS = ["f32", "f16", "bf16", "f16-zero", "bf16-zero", "f32-zero"] as const satisfies Scaling[];

/** Random packed rows and the float32 values they stand for. */
export function randomMatrix(random: Random, layout: MatrixLayout, rows: number): { packed: PackedRows; values: Float32Array } {
  const packed = randomRows(random, layout, rows);
  const values = new Float32Array(rows * layout.columns);
  const views = (bytes: Uint8Array<ArrayBuffer>) => ({ f32: new Float32Array(bytes.buffer), u16: new Uint16Array(bytes.buffer), u8: bytes });
  for (let row = 0; row < rows; row++) {
    unpackRow(layout, views(packed.data), views(packed.scales), row, values.subarray(row * layout.columns, (row + 1) * layout.columns));
  }
  return { packed, values };
}

function randomRows(random: Random, layout: MatrixLayout, rows: number): PackedRows {
  if (layout.format === "fp8") return randomFp8(random, layout, rows);
  if (layout.format === "int4" || layout.format === "int8") return randomLevels(random, layout, rows);
  return packRows(layout, random.normals(rows * layout.columns), rows);
}

/** Zero points of all kinds, 16 among them, which stands for a level that is not there. */
function randomLevels(random: Random, layout: MatrixLayout, rows: number): PackedRows {
  const packed = allocateRows(layout, rows);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < layout.columns; k++) {
      if (layout.format === "int8") packed.data[row * layout.rowBytes + k] = random.below(256);
      else packed.data[row * layout.rowBytes + (k >> 1)] |= random.below(16) << (4 * (k & 1));
    }
  }
  const halves = new Uint16Array(packed.scales.buffer);
  const words = new Uint32Array(packed.scales.buffer);
  const scale = () => random.normals(1, 0.1)[0];
  const bfloat16 = () => floatBits(scale()) >>> 16;
  switch (layout.scaling) {
    case "f32":
      words.forEach((_, i) => words[i] = floatBits(scale()));
      break;
    case "f16":
      halves.forEach((_, i) => halves[i] = halfBits(scale()));
      break;
    case "bf16":
      halves.forEach((_, i) => halves[i] = bfloat16());
      break;
    case "f16-zero":
      words.forEach((_, i) => words[i] = halfBits(scale()) | random.below(17) << 16);
      break;
    case "bf16-zero":
      words.forEach((_, i) => words[i] = bfloat16() | random.below(17) << 16);
      break;
    case "f32-zero":
      words.forEach((_, i) => words[i] = floatBits(i % 2 === 0 ? scale() : random.normals(1, 20)[0]));
      break;
    default:
      throw new TypeError(`${layout.format} without scales`);
  }
  return packed;
}

function randomFp8(random: Random, layout: MatrixLayout, rows: number): PackedRows {
  const packed = allocateRows(layout, rows);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < layout.columns; k++) {
      let bits = random.below(256);
      while (Number.isNaN(FP8_E4M3_VALUES[bits])) bits = random.below(256);
      packed.data[row * layout.rowBytes + k] = bits;
    }
  }
  new Float32Array(packed.scales.buffer).set(random.normals(packed.scales.byteLength / 4, 0.01));
  return packed;
}

/** y[item] = W[matrix] x[input], in float64. @param rounds whether inputs are rounded to eight bits, each 32 (q8) or 64 (q4) of them by their largest, as `wasm` does */
export function multiplied(
  values: Float32Array,
  x: Float32Array,
  config: LinearConfig,
  items: { matrix: number; input: number }[],
  rounds = false,
): Float64Array {
  const { outputs, inputStride, layout: { columns, format } } = config;
  const value = (at: number) => config.input === "gated" ? x[at] / (1 + Math.exp(-x[at])) * x[at + columns] : x[at];
  const y = new Float64Array(items.length * outputs);
  items.forEach(({ matrix, input }, item) => {
    const exact = Float64Array.from({ length: columns }, (_, k) => value(input * inputStride + k));
    const row = rounds ? roundedToEightBits(exact, format === "q4" ? 64 : 32) : exact;
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) sum += values[(matrix * outputs + o) * columns + k] * row[k];
      y[item * outputs + o] = sum;
    }
  });
  return y;
}

function roundedToEightBits(values: Float64Array, size: number): Float64Array {
  return values.map((value, k) => {
    const group = values.subarray(k - k % size, k - k % size + size);
    const scale = Math.fround(group.reduce((most, other) => Math.max(most, Math.abs(other)), 0) / 127);
    return scale === 0 ? 0 : Math.round(value / scale) * scale;
  });
}
