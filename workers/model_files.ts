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
    const handle = await absentAsNull(Deno.open(path), path);
    if (handle === null) return null;
    const source = new FileSource(path, await handle.stat(), this.#handles);
    this.#handles.give(path, handle);
    this.#sources.set(path, source);
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
    this.#handles.close();
    this.#sources.clear();
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
