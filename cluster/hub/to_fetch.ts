/**
 * How much of a model is still to be fetched.
 *
 * @module
 */
import type { HubFile } from "./listing.ts";
import { type RepositoryCache, sizeOf } from "./repository_cache.ts";

/** Bytes. */
export interface ToFetch {
  readonly all: number;
  /** Of these, what the cache does not have yet, nor a beginning of. */
  readonly missing: number;
}

/** Looks which files, and beginnings of files, are there. */
export async function toFetch(cache: RepositoryCache, commit: string, files: readonly HubFile[]): Promise<ToFetch> {
  let [all, missing] = [0, 0];
  for (const file of files) {
    all += file.size;
    if (await cache.has(commit, file) || await sizeOf(cache.blob(file)) === file.size) continue;
    missing += Math.max(0, file.size - (await sizeOf(cache.partial(file)) ?? 0));
  }
  return { all, missing };
}
