/**
 * Whether a file on disk is the one that a hub lists.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { HubFile } from "./listing.ts";

/** Bytes hashed at a time: a millisecond, between which others have their turn. */
const PIECE = 1 << 20;

/** Whether a file has the size and the hash of one that is listed. @throws {DOMException} when aborted */
export async function isFile(path: string, { size, hash }: Pick<HubFile, "size" | "hash">, signal?: AbortSignal): Promise<boolean> {
  using file = await Deno.open(path);
  if ((await file.stat()).size !== size) return false;
  const digest = hasher(hash.kind, size);
  const piece = new Uint8Array(PIECE);
  for (let done = 0; done < size;) {
    signal?.throwIfAborted();
    const count = await file.read(piece);
    if (count === null) return false;
    digest.update(piece.subarray(0, count));
    done += count;
  }
  return digest.digest("hex") === hash.hex;
}

/** The same for bytes. */
export function areFile(bytes: Uint8Array<ArrayBuffer>, { size, hash }: Pick<HubFile, "size" | "hash">): boolean {
  return bytes.length === size && hasher(hash.kind, size).update(bytes).digest("hex") === hash.hex;
}

/** Git hashes a header before the content. */
function hasher(kind: HubFile["hash"]["kind"], size: number) {
  return kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
