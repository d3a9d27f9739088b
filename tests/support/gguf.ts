/**
 * GGUF files of checkpoints.
 *
 * @module
 */
import { type GgufOptions, writeGguf } from "../../bench/gguf/export.ts";
import { packBlocks } from "../../bench/gguf/pack_blocks.ts";
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import type { FolderFiles } from "../../core/model/gguf/gguf_files.ts";
import { GGUF_TENSOR_TYPES, type GgufTensorType } from "../../core/model/gguf/tensor_types.ts";
import { memorySource } from "./safetensors.ts";

/** A file's bytes. @param type of matrices; of rows that are not whole blocks, f32 */
export async function ggufBytesOf(files: ModelFiles, type: GgufTensorType, options: Partial<GgufOptions> = {}): Promise<Uint8Array<ArrayBuffer>> {
  const typeOf: GgufOptions["typeOf"] = ({ shape, exact }) => exact || shape.at(-1)! % GGUF_TENSOR_TYPES[type].elements !== 0 ? "F32" : type;
  return new Uint8Array(await new Blob(await Array.fromAsync(writeGguf(files, { typeOf, pack: packBlocks, ...options }))).arrayBuffer());
}

/** The model of a file in memory, and how it may be read. */
export function memoryFolder(
  files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
  onRead: (file: string, bytes: number) => void = () => {},
): FolderFiles {
  const open = (file: string) => {
    const bytes = files[file];
    if (bytes === undefined) return Promise.resolve(null);
    const source = memorySource(`memory/${file}`, bytes);
    return Promise.resolve({
      ...source,
      read: (offset: number, length: number, into?: Uint8Array<ArrayBuffer>) => {
        onRead(file, length);
        return source.read(offset, length, into);
      },
    });
  };
  return {
    name: "memory",
    open,
    openPath: open,
    text: () => Promise.resolve(null),
    location: () => Promise.resolve("memory"),
    [Symbol.dispose]() {},
  };
}
