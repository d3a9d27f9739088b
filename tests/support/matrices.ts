/**
 * Random matrices in every storage format, and what they multiply to.
 *
 * @module
 */
import { allocateRows, type MatrixLayout, type PackedRows, packRows, unpackRow } from "../../core/model/packing.ts";
import { FP8_E4M3_VALUES } from "../../core/numeric.ts";
import type { LinearConfig } from "../../kernels/linear/linear.ts";
import type { Random } from "../../bench/support/random.ts";

/** Random packed rows and the float32 values they stand for. */
export function randomMatrix(random: Random, layout: MatrixLayout, rows: number): { packed: PackedRows; values: Float32Array } {
  const packed = layout.format === "fp8" ? randomFp8(random, layout, rows) : packRows(layout, random.normals(rows * layout.columns), rows);
  const values = new Float32Array(rows * layout.columns);
  const views = (bytes: Uint8Array<ArrayBuffer>) => ({ f32: new Float32Array(bytes.buffer), u16: new Uint16Array(bytes.buffer), u8: bytes });
  for (let row = 0; row < rows; row++) {
    unpackRow(layout, views(packed.data), views(packed.scales), row, values.subarray(row * layout.columns, (row + 1) * layout.columns));
  }
  return { packed, values };
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
