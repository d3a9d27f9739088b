/**
 * Rows of tensors as the bytes that GGUF files have of them.
 *
 * @module
 */
import type { GgufTensorType } from "../../core/model/gguf/tensor_types.ts";
import { GGUF_TENSOR_TYPES } from "../../core/model/gguf/tensor_types.ts";
import { floatBits, halfBits, toHalfBits } from "../../core/numeric.ts";
import { packOther } from "./other_blocks.ts";

/** Elements of a block. */
const BLOCK = 32;

/** Values in a storage type: Q8_0 and Q4_0 rounded as llama.cpp's own conversion does, k-quants more plainly. @param values whole blocks */
export function packBlocks(type: GgufTensorType, values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  switch (type) {
    case "F32":
      return new Uint8Array(values.slice().buffer);
    case "F16":
      return new Uint8Array(toHalfBits(values).buffer);
    case "Q8_0":
    case "Q4_0": {
      const { bytes } = GGUF_TENSOR_TYPES[type];
      const packed = new Uint8Array(values.length / BLOCK * bytes);
      const pack = type === "Q8_0" ? packEight : packFour;
      for (let block = 0; block * BLOCK < values.length; block++) pack(values, block * BLOCK, packed, block * bytes);
      return packed;
    }
    case "BF16":
      return new Uint8Array(Uint16Array.from(values, (value) => floatBits(value) >>> 16).buffer);
    default:
      return packOther(type, values);
  }
}

/** Half a float for the scale, then as many bytes as values: the largest becomes 127. */
function packEight(values: Float32Array, from: number, into: Uint8Array, at: number): void {
  let largest = 0;
  for (let i = from; i < from + BLOCK; i++) largest = Math.max(largest, Math.abs(values[i]));
  const scale = largest / 127;
  putHalf(into, at, scale);
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = 0; i < BLOCK; i++) into[at + 2 + i] = roundAway(values[from + i] * inverse) & 0xff;
}

/** Half a float for the scale, then levels 0…15, which mean −8…7: those of the first half of the block in low halves of bytes. The largest becomes −8. */
function packFour(values: Float32Array, from: number, into: Uint8Array, at: number): void {
  let extreme = 0;
  for (let i = from; i < from + BLOCK; i++) if (Math.abs(values[i]) > Math.abs(extreme)) extreme = values[i];
  const scale = extreme / -8;
  putHalf(into, at, scale);
  const inverse = scale === 0 ? 0 : 1 / scale;
  const level = (i: number) => Math.min(15, Math.trunc(values[from + i] * inverse + 8.5));
  for (let i = 0; i < BLOCK / 2; i++) into[at + 2 + i] = level(i) | level(i + BLOCK / 2) << 4;
}

function putHalf(into: Uint8Array, at: number, value: number): void {
  const bits = halfBits(value);
  into[at] = bits & 0xff;
  into[at + 1] = bits >> 8;
}

/** To the nearest, halves away from zero. */
function roundAway(value: number): number {
  return value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5);
}
