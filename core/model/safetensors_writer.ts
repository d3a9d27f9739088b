/**
 * Writes the safetensors format.
 *
 * @module
 */
import type { SafetensorsDtype } from "./safetensors.ts";

/** One tensor to write. */
export interface TensorData {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The bytes of a file. Data begins at a multiple of eight bytes, as the reference writes it. */
export function writeSafetensors(tensors: readonly TensorData[], metadata: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> {
  const entries: [string, object][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let dataBytes = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    entries.push([name, { dtype, shape, data_offsets: [dataBytes, dataBytes + bytes.byteLength] }]);
    dataBytes += bytes.byteLength;
  }
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = new TextEncoder().encode(json);
  const headerBytes = Math.ceil(header.byteLength / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + dataBytes).fill(0x20, 8, 8 + headerBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(header, 8);
  let at = 8 + headerBytes;
  for (const { bytes } of tensors) {
    file.set(bytes, at);
    at += bytes.byteLength;
  }
  return file;
}
