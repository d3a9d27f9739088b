/**
 * Files in memory.
 *
 * @module
 */
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";

/** Bytes as a source. */
export function memorySource(name: string, bytes: Uint8Array<ArrayBuffer>): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    read: (offset, length, into = new Uint8Array(length)) => {
      into.set(bytes.subarray(offset, offset + length));
      return Promise.resolve(into);
    },
  };
}

/** A model directory in memory. */
export function memoryFiles(files: Readonly<Record<string, string | Uint8Array<ArrayBuffer>>>): ModelFiles {
  return {
    name: "memory",
    open: (file) => Promise.resolve(files[file] instanceof Uint8Array ? memorySource(`memory/${file}`, files[file]) : null),
    text: (file) => Promise.resolve(typeof files[file] === "string" ? files[file] : null),
  };
}
