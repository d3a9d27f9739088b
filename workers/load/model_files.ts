/**
 * A model directory or GGUF file on disk, or a model that is made up.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import { GgufFiles } from "../../core/model/gguf/gguf_files.ts";
import { isGguf } from "../../core/model/gguf/parts.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";
import { isSynthetic } from "../../core/model/synthetic/name.ts";
import { SyntheticFiles } from "../../core/model/synthetic/synthetic_files.ts";

/** The files of a model, by its directory, its GGUF file, or of a synthetic one its name. @throws {LatentmeshError} `invalid_config` if there is no such synthetic model */
export function openModelFiles(model: string): DirectoryFiles | GgufFiles | SyntheticFiles {
  if (isSynthetic(model)) return SyntheticFiles.named(model);
  if (!isGguf(model)) return new DirectoryFiles(model);
  const folder = model.slice(0, model.lastIndexOf("/") + 1);
  return new GgufFiles(new DirectoryFiles(folder === "" ? "." : folder), model.slice(folder.length));
}

/** Open files that nobody reads from at the moment. Large models have more files than a process may have open, each read from several times at once. */
const MOST_IDLE = 64;

/** Reads the files of a directory; those that it has open are closed by {@link DirectoryFiles.close}. */
export class DirectoryFiles implements ModelFiles {
  readonly name: string;
  readonly #sources = new Map<string, FileSource>();
  readonly #handles = new IdleHandles();

  constructor(directory: string) {
    this.name = directory.replace(/\/+$/, "") || "/";
  }

  open(file: string): Promise<ByteSource | null> {
    return this.openPath(`${this.name}/${file}`);
  }

  /** Opens a file that may lie elsewhere. */
  async openPath(path: string): Promise<ByteSource | null> {
    const known = this.#sources.get(path);
    if (known !== undefined) return known;
    const size = await sizeOf(path);
    if (size === null) return null;
    await refusePointer(path, size);
    const handle = await Deno.open(path);
    const source = new FileSource(path, await handle.stat(), this.#handles);
    this.#handles.give(path, handle);
    this.#sources.set(path, source);
    return source;
  }

  async text(file: string): Promise<string | null> {
    const path = `${this.name}/${file}`;
    const size = await sizeOf(path);
    if (size === null) return null;
    if (size > MAX_TEXT_BYTES) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot read ${path}: it has ${size} bytes; the most are ${MAX_TEXT_BYTES}`);
    }
    await refusePointer(path, size);
    return await Deno.readTextFile(path);
  }

  async list(): Promise<string[]> {
    try {
      return (await Array.fromAsync(Deno.readDir(this.name))).map(({ name }) => name).sort();
    } catch {
      // Whoever opens files says why they cannot be read.
      return [];
    }
  }

  async whatElse(): Promise<string> {
    let entries: Deno.DirEntry[];
    try {
      entries = await Array.fromAsync(Deno.readDir(this.name));
    } catch (error) {
      if (error instanceof Deno.errors.NotADirectory) return "it is a file; models in one file are called FILE.gguf";
      if (error instanceof Deno.errors.NotFound) {
        return "there is no config.json, nor anything else of that name here; models on the hub are called org/name, and fetched by that name";
      }
      return `it cannot be looked into: ${messageOf(error)}`;
    }
    const gguf = entries.map(({ name }) => name).filter(isGguf).sort();
    if (entries.some(({ name }) => name === "adapter_config.json")) {
      return "there is no config.json in it, but an adapter (adapter_config.json); merge that into the model that it was made for, and save the whole";
    }
    if (gguf.length > 0) return `there is no config.json in it, but ${gguf[0]}: a GGUF file is a model by itself, ${this.name}/${gguf[0]}`;
    const folder = await this.#folderWithModel(entries);
    if (folder !== null) return `there is no config.json in it, but one in ${folder}`;
    return "there is no config.json in it; models on the hub are called org/name, and fetched by that name";
  }

  /** A model one level down, or two, as caches of the hub have it. */
  async #folderWithModel(entries: readonly Deno.DirEntry[]): Promise<string | null> {
    for (const { name } of entries.filter(({ isDirectory }) => isDirectory).slice(0, MOST_FOLDERS)) {
      const folder = `${this.name}/${name}`;
      if (await sizeOf(`${folder}/config.json`) !== null) return folder;
      if (name === "snapshots") {
        for await (const { name } of Deno.readDir(folder)) if (await sizeOf(`${folder}/${name}/config.json`) !== null) return `${folder}/${name}`;
      }
    }
    return null;
  }

  /** What another process opens it by. */
  location(): Promise<string> {
    return Deno.realPath(this.name);
  }

  close(): void {
    this.#handles.close();
    this.#sources.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Folders that are looked into for a model. */
const MOST_FOLDERS = 64;

/** Pointers are shorter (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md), and begin so. */
const MOST_POINTER_BYTES = 1024;
const POINTER = "version https://git-lfs.github.com/spec/v1";

/** @throws {LatentmeshError} `invalid_checkpoint` if a file only says where Git would get it from */
async function refusePointer(path: string, size: number): Promise<void> {
  if (size >= MOST_POINTER_BYTES || !(await Deno.readTextFile(path)).startsWith(POINTER)) return;
  throw new LatentmeshError(
    "invalid_checkpoint",
    `Cannot read ${path}: it is a pointer of Git LFS, and not the file itself; run "git lfs pull" in its directory, or give the model by its name on the hub`,
  );
}

/** Bytes of a text at most. The largest tokenizers have 20 MB. */
const MAX_TEXT_BYTES = 256 << 20;

/**
 * Bytes of a file; null if there is none.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if it is no regular file: opening a pipe waits for whoever writes into it, for ever
 */
async function sizeOf(path: string): Promise<number | null> {
  try {
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) throw new LatentmeshError("invalid_checkpoint", `Cannot read ${path}: it is not a regular file`);
    return size;
  } catch (cause) {
    if (cause instanceof LatentmeshError) throw cause;
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) return null;
    throw new LatentmeshError("not_found", `Cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Seeking and reading are two calls, so every read has a handle to itself. */
class IdleHandles {
  /** Longest idle first. */
  readonly #idle: { readonly path: string; readonly handle: Deno.FsFile }[] = [];
  #closed = false;

  /** A handle that is idle, for one read; {@link give} it back. */
  take(path: string): Deno.FsFile | null {
    const at = this.#idle.findLastIndex((idle) => idle.path === path);
    return at < 0 ? null : this.#idle.splice(at, 1)[0].handle;
  }

  give(path: string, handle: Deno.FsFile): void {
    if (this.#closed) return handle.close();
    this.#idle.push({ path, handle });
    if (this.#idle.length > MOST_IDLE) this.#idle.shift()!.handle.close();
  }

  close(): void {
    this.#closed = true;
    for (const { handle } of this.#idle.splice(0)) handle.close();
  }
}

class FileSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  /** Which file it was when it was first opened. */
  readonly #inode: number | null;
  readonly #handles: IdleHandles;

  constructor(name: string, { size, ino }: Deno.FileInfo, handles: IdleHandles) {
    this.name = name;
    this.size = size;
    this.#inode = ino;
    this.#handles = handles;
  }

  async read(offset: number, length: number, into: Uint8Array<ArrayBuffer> = new Uint8Array(length)): Promise<Uint8Array<ArrayBuffer>> {
    const handle = this.#handles.take(this.name) ?? this.#openAgain();
    try {
      handle.seekSync(offset, Deno.SeekMode.Start);
      for (let done = 0; done < length;) {
        const count = await handle.read(into.subarray(done));
        if (count === null) {
          throw new LatentmeshError("invalid_checkpoint", `Cannot read ${this.name}: it ended at byte ${offset + done}; was it truncated?`);
        }
        done += count;
      }
      return into;
    } finally {
      this.#handles.give(this.name, handle);
    }
  }

  #openAgain(): Deno.FsFile {
    const handle = Deno.openSync(this.name);
    if (handle.statSync().ino === this.#inode) return handle;
    handle.close();
    throw new LatentmeshError("invalid_checkpoint", `Cannot read ${this.name}: another file has taken its place while it was read`);
  }
}
