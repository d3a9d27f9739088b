/**
 * The beginning of a file that is being fetched, on disk.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";

/** Written at its end only, so that whatever is there of it is good to go on from. */
export class PartialFile implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  #size: number;

  private constructor(path: string, file: Deno.FsFile, size: number) {
    this.#path = path;
    this.#file = file;
    this.#size = size;
  }

  /** Opens what is there, or makes a new one. @param most bytes; what has more is something else and gives way */
  static async open(path: string, most: number): Promise<PartialFile> {
    const file = await opened(path);
    const { size } = await file.stat();
    if (size <= most) return new PartialFile(path, file, size);
    file.close();
    await Deno.remove(path);
    return new PartialFile(path, await opened(path), 0);
  }

  /** Bytes that are there. */
  get size(): number {
    return this.#size;
  }

  /** Adds bytes. By position: were two processes to write it after all, they would write the same. @throws {LatentmeshError} `capacity` if they cannot be written */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      await this.#file.seek(this.#size, Deno.SeekMode.Start);
      for (let done = 0; done < bytes.length;) {
        const count = await this.#file.write(bytes.subarray(done));
        done += count;
        this.#size += count;
      }
    } catch (cause) {
      throw unwritable(this.#path, cause);
    }
  }

  /** Some file systems find out only here that they are full. @throws {LatentmeshError} `capacity` */
  async sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (cause) {
      throw unwritable(this.#path, cause);
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

function opened(path: string): Promise<Deno.FsFile> {
  return Deno.open(path, { read: true, write: true, create: true });
}

function unwritable(path: string, cause: unknown): LatentmeshError {
  return new LatentmeshError("capacity", `Cannot write ${path}: ${messageOf(cause)}; what has come is kept`, { cause });
}
