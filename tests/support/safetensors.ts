/**
 * Writes safetensors, in memory.
 *
 * @module
 */
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";

/** One tensor to write. */
export interface TensorData {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The bytes of a file. */
export function writeSafetensors(tensors: readonly TensorData[]): Uint8Array<ArrayBuffer> {
  const entries: [string, object][] = [];
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + bytes.byteLength] }]);
    offset += bytes.byteLength;
  }
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const file = new Uint8Array(8 + header.byteLength + offset);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.byteLength), true);
  file.set(header, 8);
  let at = 8 + header.byteLength;
  for (const { bytes } of tensors) {
    file.set(bytes, at);
    at += bytes.byteLength;
  }
  return file;
}

/** Bytes as a source. */
export function memorySource(name: string, bytes: Uint8Array<ArrayBuffer>): ByteSource {
  return { name, size: bytes.byteLength, read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)) };
}

/** A model directory in memory. */
export function memoryFiles(files: Readonly<Record<string, string | Uint8Array<ArrayBuffer>>>): ModelFiles {
  return {
    name: "memory",
    open: (file) => Promise.resolve(files[file] instanceof Uint8Array ? memorySource(`memory/${file}`, files[file]) : null),
    text: (file) => Promise.resolve(typeof files[file] === "string" ? files[file] : null),
  };
}
