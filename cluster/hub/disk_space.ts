/**
 * Whether there is room for what is to be fetched.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import { LatentmeshError } from "../../core/errors.ts";
import { formatBytes } from "../logs/log.ts";

/** Kept free: a full disk is more than a download's trouble. */
const SPARE = 256 << 20;

/** @param directory that exists @throws {LatentmeshError} `capacity` if so many bytes do not fit */
export async function requireSpace(
  directory: string,
  bytes: number,
  model: string,
  free: (directory: string) => Promise<number | null> = freeSpace,
): Promise<void> {
  const left = await free(directory);
  if (bytes === 0 || left === null || bytes + Math.min(SPARE, bytes) <= left) return;
  throw new LatentmeshError(
    "capacity",
    `Cannot fetch ${model}: ${formatBytes(bytes)} are missing, and ${directory} has room for ${
      formatBytes(left)
    }; make room (deno task models lists what is there), or set HF_HOME to a larger disk`,
    { param: "model" },
  );
}

/** The same for a directory that may not exist yet. */
export async function freeSpaceAbove(directory: string): Promise<number | null> {
  for (let at = directory; at.includes("/"); at = at.slice(0, at.lastIndexOf("/"))) {
    const free = await freeSpace(at);
    if (free !== null) return free;
  }
  return await freeSpace(directory.startsWith("/") ? "/" : ".");
}

/** Bytes that this user may still write; null where that cannot be told, or not by this program. */
export async function freeSpace(directory: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch {
    return null;
  }
}
