/**
 * A model directory on disk, or one that is made up.
 *
 * @module
 */
import type { ModelFiles } from "../core/model/checkpoint.ts";
import { LatentmeshError, messageOf } from "../core/errors.ts";
import type { ByteSource } from "../core/model/safetensors.ts";
import { isSynthetic } from "../core/model/synthetic/name.ts";
import { SyntheticFiles } from "../core/model/synthetic/synthetic_files.ts";

/** The files of a model, by its directory or, of a synthetic one, by its name. @throws {LatentmeshError} `invalid_config` if there is no such synthetic model */
export function openModelFiles(model: string): DirectoryFiles | SyntheticFiles {
  return isSynthetic(model) ? SyntheticFiles.named(model) : new DirectoryFiles(model);
}

/** Opens the files of a directory; keeps them open until {@link DirectoryFiles.close}. */
export class DirectoryFiles implements ModelFiles {
  readonly name: string;
  readonly #open = new Map<string, FileSource>();

  constructor(directory: string) {
    this.name = directory.replace(/\/+$/, "") || "/";
  }

  open(file: string): Promise<ByteSource | null> {
    return this.openPath(`${this.name}/${file}`);
  }

  /** Opens a file that may lie elsewhere. */
  async openPath(path: string): Promise<ByteSource | null> {
    const known = this.#open.get(path);
    if (known !== undefined) return known;
    const handle = await absentAsNull(Deno.open(path), path);
    if (handle === null) return null;
    const source = new FileSource(path, handle, (await handle.stat()).size);
    this.#open.set(path, source);
    return source;
  }

  text(file: string): Promise<string | null> {
    return absentAsNull(Deno.readTextFile(`${this.name}/${file}`), `${this.name}/${file}`);
  }

  /** What another process opens it by. */
  location(): Promise<string> {
    return Deno.realPath(this.name);
  }

  close(): void {
    for (const source of this.#open.values()) source.close();
    this.#open.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

async function absentAsNull<T>(operation: Promise<T>, path: string): Promise<T | null> {
  try {
    return await operation;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) return null;
    throw new LatentmeshError("not_found", `Cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

class FileSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #file: Deno.FsFile;
  /** Seek and read are two calls, so reads take turns. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(name: string, file: Deno.FsFile, size: number) {
    this.name = name;
    this.#file = file;
    this.size = size;
  }

  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const turn = this.#last.then(() => this.#readNow(offset, length));
    this.#last = turn.catch(() => {});
    return turn;
  }

  close(): void {
    this.#file.close();
  }

  async #readNow(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    await this.#file.seek(offset, Deno.SeekMode.Start);
    for (let done = 0; done < length;) {
      const count = await this.#file.read(bytes.subarray(done));
      if (count === null) {
        throw new LatentmeshError("invalid_checkpoint", `Cannot read ${this.name}: it ended at byte ${offset + done}; was it truncated?`);
      }
      done += count;
    }
    return bytes;
  }
}
