/**
 * Whether a snapshot in the cache is whole, by what is in it.
 *
 * @module
 */
import { INDEX_FILE, shardsOf, SINGLE_FILE } from "../../core/model/checkpoint.ts";
import { CONFIG_FILE } from "./needed_files.ts";
import { isFile } from "./file_hash.ts";
import type { FileHash } from "./listing.ts";
import { sizeOf } from "./repository_cache.ts";

/** A file without which a model cannot be loaded, and that is not there; null if all are. */
export async function missingFile(directory: string): Promise<string | null> {
  const has = async (file: string) => await sizeOf(`${directory}/${file}`) !== null;
  if (!await has(CONFIG_FILE)) return CONFIG_FILE;
  if (!await has("tokenizer.json") && !await has("tiktoken.model")) return "tokenizer.json";
  if (!await has(INDEX_FILE)) return await has(SINGLE_FILE) ? null : SINGLE_FILE;
  for (const shard of shardsOf(await Deno.readTextFile(`${directory}/${INDEX_FILE}`), `${directory}/${INDEX_FILE}`)) {
    if (!await has(shard)) return shard;
  }
  return null;
}

/** A file that is not what its blob is called after; null if there is none. Copies, which are called after nothing, are not looked at. */
export async function wrongFile(directory: string, signal?: AbortSignal): Promise<string | null> {
  for await (const { name, isSymlink } of Deno.readDir(directory)) {
    if (!isSymlink) continue;
    const path = `${directory}/${name}`;
    const hash = hashNamed((await Deno.readLink(path)).split("/").at(-1)!);
    if (hash !== null && !await isFile(path, { size: (await Deno.stat(path)).size, hash }, signal)) return name;
  }
  return null;
}

function hashNamed(hex: string): FileHash | null {
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hex)) return null;
  return { kind: hex.length === 40 ? "git-sha1" : "sha256", hex };
}
