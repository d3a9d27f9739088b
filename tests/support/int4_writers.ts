/**
 * Writes weights of four bits as others do: compressed-tensors 0.20 (`pack_quantized`), AutoAWQ 0.2.9 (`WQLinear_GEMM.from_linear`), AutoGPTQ 0.7.1 (`pack`) and
 * GPTQModel (its conversion between both versions). Written from what those do, and from nothing that reads here.
 *
 * @module
 */
import type { TensorData } from "../../core/model/safetensors_writer.ts";

/** Level minus zero point, times a scale: what all of these formats mean. */
export interface FourBits {
  readonly rows: number;
  readonly columns: number;
  /** Columns that share a scale. */
  readonly group: number;
  /** [rows, columns], 0 … 15 */
  readonly levels: Uint8Array<ArrayBuffer>;
  /** [rows, groups], 0 … 15; 8 everywhere where weights are symmetric. */
  readonly zeros: Uint8Array<ArrayBuffer>;
  /** [rows, groups], of which each is a number of `scaleType`. */
  readonly scales: Float32Array<ArrayBuffer>;
  readonly scaleType: "F32" | "F16" | "BF16";
}

/** What is chosen for weights. */
export interface FourBitOptions extends Pick<FourBits, "group" | "scaleType"> {
  readonly symmetric: boolean;
}

/** Rounds weights to the nearest level: [rows, columns]. */
export function toFourBits(
  weights: Float32Array,
  [rows, columns]: readonly [number, number],
  { group, scaleType, symmetric }: FourBitOptions,
): FourBits {
  const groups = Math.ceil(columns / group);
  const levels = new Uint8Array(rows * columns);
  const zeros = new Uint8Array(rows * groups);
  const scales = new Float32Array(rows * groups);
  for (let row = 0; row < rows; row++) {
    for (let g = 0; g < groups; g++) {
      const [begin, end] = [row * columns + g * group, row * columns + Math.min((g + 1) * group, columns)];
      const some = weights.subarray(begin, end);
      const [least, most] = [Math.min(0, ...some), Math.max(0, ...some)];
      const scale = rounded((symmetric ? Math.max(-least, most) / 7.5 : (most - least) / 15) || 1, scaleType);
      const zero = symmetric ? 8 : Math.min(15, Math.max(0, Math.round(-least / scale)));
      scales[row * groups + g] = scale;
      zeros[row * groups + g] = zero;
      some.forEach((weight, i) => levels[begin + i] = Math.min(15, Math.max(0, Math.round(weight / scale) + zero)));
    }
  }
  return { rows, columns, group, levels, zeros, scales, scaleType };
}

function rounded(value: number, type: FourBits["scaleType"]): number {
  if (type === "F16") return new Float16Array([value])[0];
  const bits = new Uint32Array(new Float32Array([value]).buffer);
  if (type === "BF16") bits[0] = (bits[0] + 0x8000) & 0xffff0000;
  return new Float32Array(bits.buffer)[0];
}

/** The weights that they stand for. */
export function fromFourBits({ rows, columns, group, levels, zeros, scales }: FourBits): Float32Array<ArrayBuffer> {
  const groups = Math.ceil(columns / group);
  const values = new Float32Array(rows * columns);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const at = row * groups + Math.floor(column / group);
      values[i] = (levels[i] - zeros[at]) * scales[at];
    }
  }
  return values;
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Numbers as a dtype has them. */
function asType(values: Float32Array<ArrayBuffer>, type: FourBits["scaleType"]): Uint8Array<ArrayBuffer> {
  if (type === "F32") return bytesOf(values);
  if (type === "F16") return bytesOf(Float16Array.from(values));
  return bytesOf(Uint16Array.from(new Uint32Array(values.slice().buffer), (bits) => bits >>> 16));
}

/** Rows of nibbles, eight in a word, with zeros behind the last: [rows, ⌈columns / 8⌉]. */
function packColumns(nibbles: Uint8Array, rows: number, columns: number): Int32Array<ArrayBuffer> {
  const words = Math.ceil(columns / 8);
  const packed = new Int32Array(rows * words);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) packed[row * words + (column >> 3)] |= nibbles[row * columns + column] << (4 * (column % 8));
  }
  return packed;
}

function transposed<T extends Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>>(matrix: T, rows: number, columns: number): T {
  const result = matrix.slice() as T;
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) result[column * rows + row] = matrix[row * columns + column];
  return result;
}

/** `pack-quantized`. @param padded as a version has it that packs 32 columns at a time */
export function compressedTensors(
  name: string,
  bits: FourBits,
  { symmetric, padded = false }: { symmetric: boolean; padded?: boolean },
): TensorData[] {
  const { rows, columns, group, levels, zeros, scales, scaleType } = bits;
  const groups = Math.ceil(columns / group);
  const width = padded ? Math.ceil(columns / 32) * 32 : columns;
  const wide = new Uint8Array(rows * width);
  for (let row = 0; row < rows; row++) wide.set(levels.subarray(row * columns, (row + 1) * columns), row * width);
  const tensors: TensorData[] = [
    { name: `${name}.weight_packed`, dtype: "I32", shape: [rows, Math.ceil(width / 8)], bytes: bytesOf(packColumns(wide, rows, width)) },
    { name: `${name}.weight_scale`, dtype: scaleType, shape: [rows, groups], bytes: asType(scales, scaleType) },
    { name: `${name}.weight_shape`, dtype: "I64", shape: [2], bytes: bytesOf(BigInt64Array.of(BigInt(rows), BigInt(columns))) },
  ];
  if (symmetric) return tensors;
  // Packed along the outputs.
  const packed = transposedWords(packColumns(transposed(zeros, rows, groups), groups, rows), groups, Math.ceil(rows / 8));
  return [...tensors, { name: `${name}.weight_zero_point`, dtype: "I32", shape: [Math.ceil(rows / 8), groups], bytes: bytesOf(packed) }];
}

function transposedWords(words: Int32Array<ArrayBuffer>, rows: number, columns: number): Int32Array<ArrayBuffer> {
  return Int32Array.from({ length: words.length }, (_, i) => words[(i % rows) * columns + Math.floor(i / rows)]);
}

/** Which of eight neighbours goes into each nibble of AWQ's words. */
const ORDER_MAP = [0, 2, 4, 6, 1, 3, 5, 7];

/** AutoAWQ's `gemm`. */
export function awq(name: string, { rows, columns, group, levels, zeros, scales, scaleType }: FourBits): TensorData[] {
  const groups = Math.ceil(columns / group);
  const packed = (nibbles: Uint8Array<ArrayBuffer>, inputs: number) => {
    const of = transposed(nibbles, rows, inputs);
    const words = new Int32Array(inputs * rows / 8);
    for (let input = 0; input < inputs; input++) {
      for (let word = 0; word < rows / 8; word++) {
        for (let i = 0; i < 8; i++) words[input * rows / 8 + word] |= of[input * rows + word * 8 + ORDER_MAP[i]] << (4 * i);
      }
    }
    return bytesOf(words);
  };
  return [
    { name: `${name}.qweight`, dtype: "I32", shape: [columns, rows / 8], bytes: packed(levels, columns) },
    { name: `${name}.qzeros`, dtype: "I32", shape: [groups, rows / 8], bytes: packed(zeros, groups) },
    { name: `${name}.scales`, dtype: scaleType, shape: [groups, rows], bytes: asType(transposed(scales, rows, groups), scaleType) },
  ];
}

/** GPTQ. @param order which group each input is in; in place by default */
export function gptq(name: string, bits: FourBits, { version, order }: { version: 1 | 2; order?: readonly number[] }): TensorData[] {
  const { rows, columns, group, levels, zeros, scales, scaleType } = bits;
  const groups = Math.ceil(columns / group);
  const inputs = transposed(levels, rows, columns);
  const qweight = new Int32Array(columns / 8 * rows);
  for (let input = 0; input < columns; input++) {
    for (let row = 0; row < rows; row++) qweight[(input >> 3) * rows + row] |= inputs[input * rows + row] << (4 * (input % 8));
  }
  // The first version stores one less, taken from whole words.
  const qzeros = packColumns(transposed(zeros, rows, groups), groups, rows).map((word) => version === 1 ? word - 0x11111111 : word);
  const indices = Int32Array.from(order ?? Array.from({ length: columns }, (_, input) => Math.floor(input / group)));
  return [
    { name: `${name}.qweight`, dtype: "I32", shape: [columns / 8, rows], bytes: bytesOf(qweight) },
    { name: `${name}.qzeros`, dtype: "I32", shape: [groups, rows / 8], bytes: bytesOf(qzeros) },
    { name: `${name}.scales`, dtype: scaleType, shape: [groups, rows], bytes: asType(transposed(scales, rows, groups), scaleType) },
    { name: `${name}.g_idx`, dtype: "I32", shape: [columns], bytes: bytesOf(indices) },
  ];
}
