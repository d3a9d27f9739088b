/**
 * What a snapshot in the cache holds, and whether that is all of a model.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { INDEX_FILE, SINGLE_FILE, weightNames } from "../../core/model/checkpoint.ts";
import { isFile } from "./file_hash.ts";
import { chooseGguf, ggufChoices } from "./gguf_choice.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import type { FileHash } from "./listing.ts";
import { CONFIG_FILE, hasSafetensors } from "./needed_files.ts";
import { sizeOf } from "./repository_cache.ts";

/** A model as a snapshot has it. */
export interface SnapshotModel {
  /** What it is opened by: the snapshot's directory, or a GGUF file in it. */
  readonly path: string;
  /** A file without which it cannot be loaded, and that is not there; null if all are. */
  readonly missing: string | null;
}

/** What there is of a model, in the form in which it is asked for. */
export async function inSnapshot(directory: string, name: HubName): Promise<SnapshotModel> {
  const files = new Set(await filesIn(directory));
  const asGguf = name.gguf !== undefined || (!hasSafetensors(files) && ggufChoices(files).length > 0);
  if (!asGguf) return { path: directory, missing: await missingFile(directory, files) };
  try {
    const { file, parts } = chooseGguf(files, name.gguf, formatHubName({ ...name, gguf: undefined }));
    return { path: `${directory}/${file}`, missing: parts.find((part) => !files.has(part)) ?? null };
  } catch (error) {
    if (!(error instanceof LatentmeshError)) throw error;
    return { path: directory, missing: name.gguf ?? "one GGUF file that is the usual one" };
  }
}

/** A file without which a model in safetensors cannot be loaded, and that is not there; null if all are. */
export async function missingFile(directory: string, files?: ReadonlySet<string>): Promise<string | null> {
  const there = files ?? new Set(await filesIn(directory));
  if (!there.has(CONFIG_FILE)) return CONFIG_FILE;
  if (!there.has("tokenizer.json") && !there.has("tiktoken.model")) return "tokenizer.json";
  const index = `${directory}/${INDEX_FILE}`;
  const names = weightNames(there.has(INDEX_FILE) ? await Deno.readTextFile(index) : null, there.has(SINGLE_FILE), index);
  return (names ?? [SINGLE_FILE]).find((file) => !there.has(file)) ?? null;
}

/** Paths of all files that can be read, also in folders; of links those that lead to one. */
export async function filesIn(directory: string): Promise<string[]> {
  const files: string[] = [];
  for await (const path of entriesIn(directory)) if (await sizeOf(`${directory}/${path}`) !== null) files.push(path);
  return files.sort();
}

/** Paths of all files and links, also in folders; none if there is no such directory. */
export async function* entriesIn(directory: string, prefix = ""): AsyncGenerator<string> {
  try {
    for await (const { name, isDirectory } of Deno.readDir(`${directory}/${prefix}`)) {
      if (isDirectory) yield* entriesIn(directory, `${prefix}${name}/`);
      else yield prefix + name;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) throw error;
  }
}

/** A file that is not what its blob is called after; null if there is none. Copies, which are called after nothing, are not looked at. */
export async function wrongFile(directory: string, signal?: AbortSignal): Promise<string | null> {
  for await (const name of entriesIn(directory)) {
    const path = `${directory}/${name}`;
    if (!(await Deno.lstat(path)).isSymlink) continue;
    const hash = hashNamed((await Deno.readLink(path)).split("/").at(-1)!);
    if (hash !== null && !await isFile(path, { size: (await Deno.stat(path)).size, hash }, signal)) return name;
  }
  return null;
}

function hashNamed(hex: string): FileHash | null {
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hex)) return null;
  return { kind: hex.length === 40 ? "git-sha1" : "sha256", hex };
}
