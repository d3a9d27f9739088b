/**
 * Files that are there whole or not at all.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";

/**
 * Writes a file: another process never sees half of it, and a full disk leaves nothing behind.
 *
 * @param writer tells files that several write at once apart while they are unfinished; default: this process, of this machine
 * @throws {LatentmeshError} `capacity` saying what is in the way
 */
export async function writeWhole(path: string, bytes: Uint8Array<ArrayBuffer>, writer = String(Deno.pid)): Promise<void> {
  const unfinished = `${path}.${writer}`;
  try {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")) || "/", { recursive: true });
    using file = await Deno.open(unfinished, { write: true, create: true, truncate: true });
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    // Some file systems find out only here that they are full.
    await file.sync();
    await Deno.rename(unfinished, path);
  } catch (cause) {
    await Deno.remove(unfinished).catch(() => {});
    throw new LatentmeshError("capacity", `Cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
