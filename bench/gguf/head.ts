/**
 * Writes what GGUF files begin with. Version 3, little endian.
 *
 * @module
 */
import { GGUF_ALIGNMENT, GGUF_MAGIC, GGUF_VALUE_TYPES as CODES } from "../../core/model/gguf/header.ts";
import { GGUF_TENSOR_TYPES, ggufBytes, type GgufTensorType } from "../../core/model/gguf/tensor_types.ts";
import { roundUp } from "../../core/numeric.ts";

/** The version that is written. */
const VERSION = 3;

/** A value of the metadata. Arrays are of strings or of 32-bit integers. */
export type WrittenValue =
  | { readonly type: "u32" | "i32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "i32s"; readonly value: readonly number[] };

/** One tensor of a file. */
export interface GgufTensor {
  readonly name: string;
  /** As everywhere in Latentmesh, from the slowest dimension to the quickest; files have it the other way round. */
  readonly shape: readonly number[];
  readonly type: GgufTensorType;
}

/** Bytes of a tensor's data, without what fills up to the next. */
export function ggufTensorBytes({ shape, type }: GgufTensor): number {
  return ggufBytes(type, shape.reduce((product, dimension) => product * dimension, 1));
}

/** What a file begins with: metadata and where tensors lie, filled up to where their data begins. They lie one after the other, each filled up to a multiple of 32 bytes. */
export function ggufHead(metadata: ReadonlyMap<string, WrittenValue>, tensors: readonly GgufTensor[]): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  out.u32(GGUF_MAGIC);
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.string(key);
    writeValue(out, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.string(tensor.name);
    out.u32(tensor.shape.length);
    tensor.shape.toReversed().forEach((dimension) => out.u64(dimension));
    out.u32(GGUF_TENSOR_TYPES[tensor.type].code);
    out.u64(offset);
    offset += roundUp(ggufTensorBytes(tensor), GGUF_ALIGNMENT);
  }
  return out.padded(GGUF_ALIGNMENT);
}

function writeValue(out: Bytes, { type, value }: WrittenValue): void {
  switch (type) {
    case "strings":
      out.u32(CODES.array);
      out.u32(CODES.string);
      out.u64(value.length);
      return value.forEach((each) => out.string(each));
    case "i32s":
      out.u32(CODES.array);
      out.u32(CODES.i32);
      out.u64(value.length);
      return value.forEach((each) => out.u32(each));
    case "string":
      out.u32(CODES.string);
      return out.string(value);
    case "bool":
      out.u32(CODES.bool);
      return out.u8(value ? 1 : 0);
    case "f32":
      out.u32(CODES.f32);
      return out.f32(value);
    case "u32":
    case "i32":
      out.u32(CODES[type]);
      return out.u32(value);
    default:
      return type satisfies never;
  }
}

/** Bytes that grow. */
class Bytes {
  #bytes = new Uint8Array(1 << 16);
  #length = 0;

  u8(value: number): void {
    this.#view(1).setUint8(0, value);
  }

  u32(value: number): void {
    this.#view(4).setUint32(0, value, true);
  }

  u64(value: number): void {
    this.#view(8).setBigUint64(0, BigInt(value), true);
  }

  f32(value: number): void {
    this.#view(4).setFloat32(0, value, true);
  }

  string(value: string): void {
    const text = new TextEncoder().encode(value);
    this.u64(text.byteLength);
    const { byteOffset } = this.#view(text.byteLength);
    this.#bytes.set(text, byteOffset);
  }

  padded(alignment: number): Uint8Array<ArrayBuffer> {
    this.#view(roundUp(this.#length, alignment) - this.#length);
    return this.#bytes.slice(0, this.#length);
  }

  /** The next so many bytes. */
  #view(bytes: number): DataView {
    const begin = this.#length;
    this.#length += bytes;
    if (this.#length > this.#bytes.byteLength) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return new DataView(this.#bytes.buffer, begin, bytes);
  }
}
