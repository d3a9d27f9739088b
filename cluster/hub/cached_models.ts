/**
 * What is in the cache: models, by whomever they were fetched.
 *
 * @module
 */
import { INDEX_FILE } from "../../core/model/checkpoint.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { besideModel } from "../../core/model/gguf/parts.ts";
import { entriesIn, filesIn, missingFile } from "./cached_snapshot.ts";
import { tryLock } from "./file_lock.ts";
import { chooseGguf, ggufChoices, nameOfChoice } from "./gguf_choice.ts";
import { formatHubName, type HubName, isCommit } from "./hub_name.ts";
import { hasSafetensors } from "./needed_files.ts";
import { MODEL_FOLDER, RepositoryCache, sizeOf } from "./repository_cache.ts";

/** A commit of a model. */
export interface CachedRevision {
  readonly commit: string;
  /** What it is called; none: something newer has the name by now. */
  readonly refs: readonly string[];
  /** Bytes of its files. */
  readonly bytes: number;
  /** A file without which it cannot be loaded; null: it is whole, or one of {@link CachedRevision.gguf} is. */
  readonly missing: string | null;
  /** Its GGUF files, as they are asked for, those that are whole. */
  readonly gguf: readonly string[];
}

/** A model. */
export interface CachedModel {
  readonly repository: string;
  /** On disk: revisions share files. */
  readonly bytes: number;
  /** Of these, beginnings of files. */
  readonly partialBytes: number;
  readonly revisions: readonly CachedRevision[];
}

/** All models, by name. @param cache directory of the cache */
export async function cachedModels(cache: string): Promise<CachedModel[]> {
  const models: CachedModel[] = [];
  for (const folder of (await namesIn(cache)).filter((name) => name.startsWith(MODEL_FOLDER))) {
    models.push(await cachedModel(cache, folder.slice(MODEL_FOLDER.length).replaceAll("--", "/")));
  }
  return models;
}

/** Removes a model, or one revision of it. @returns bytes that are free now @throws {LatentmeshError} `not_found` if it is not there, `overloaded` if it is being fetched */
export async function removeModel(cache: string, name: HubName, { onlyRevision }: { readonly onlyRevision: boolean }): Promise<number> {
  const model = await cachedModel(cache, name.repository);
  const { revision, repository } = name;
  if (name.gguf !== undefined) return await removeGguf(cache, name, model);
  const gone = model.revisions.filter(({ commit, refs }) => !onlyRevision || commit === revision || refs.includes(revision));
  if (onlyRevision ? gone.length === 0 : model.bytes === 0 && gone.length === 0) {
    throw new LatentmeshError("not_found", `Cannot remove ${formatHubName(name)}: it is not in ${cache}; deno task models lists what is`, {
      param: "model",
    });
  }
  const folder = new RepositoryCache(cache, repository);
  const locks = await allLocks(folder, name);
  try {
    if (gone.length === model.revisions.length) {
      await Deno.remove(folder.root, { recursive: true });
      await Deno.remove(folder.locks, { recursive: true }).catch(() => {});
      return model.bytes;
    }
    for (const { commit, refs } of gone) {
      for (const ref of refs) await Deno.remove(`${folder.root}/refs/${ref}`);
      await Deno.remove(folder.snapshot(commit), { recursive: true });
    }
    await removeUnused(folder);
  } finally {
    for (const lock of locks) lock[Symbol.dispose]();
  }
  return model.bytes - (await cachedModel(cache, repository)).bytes;
}

/** Removes one of its GGUF models from the revision that is named. */
async function removeGguf(cache: string, name: HubName, { revisions, bytes, repository }: CachedModel): Promise<number> {
  const folder = new RepositoryCache(cache, repository);
  const commit = revisions.find(({ commit, refs }) => commit === name.revision || refs.includes(name.revision))?.commit;
  const directory = commit === undefined ? null : folder.snapshot(commit);
  const files = directory === null ? [] : await Array.fromAsync(entriesIn(directory));
  const { file, parts } = chooseGguf(files, name.gguf, `${formatHubName({ ...name, gguf: undefined })} in ${cache}`);
  const gone = new Set([...parts, besideModel(file, "basis.safetensors")]);
  if (files.every((path) => gone.has(path))) return await removeModel(cache, { repository, revision: commit! }, { onlyRevision: true });
  const locks = await allLocks(folder, name);
  try {
    for (const path of files) if (gone.has(path)) await Deno.remove(`${directory}/${path}`);
    await removeUnused(folder);
  } finally {
    for (const lock of locks) lock[Symbol.dispose]();
  }
  return bytes - (await cachedModel(cache, repository)).bytes;
}

async function cachedModel(cache: string, repository: string): Promise<CachedModel> {
  const { root } = new RepositoryCache(cache, repository);
  const refs = await refsIn(`${root}/refs`);
  let [bytes, partialBytes] = [0, 0];
  for (const name of await namesIn(`${root}/blobs`)) {
    const { size } = await Deno.stat(`${root}/blobs/${name}`);
    bytes += size;
    if (name.endsWith(".incomplete")) partialBytes += size;
  }
  const revisions: CachedRevision[] = [];
  for (const commit of (await namesIn(`${root}/snapshots`)).filter(isCommit)) {
    const directory = `${root}/snapshots/${commit}`;
    let size = 0;
    const files = new Set(await filesIn(directory));
    for (const path of files) size += await sizeOf(`${directory}/${path}`) ?? 0;
    const choices = ggufChoices(files);
    const whole = choices.filter(({ parts }) => parts.every((part) => files.has(part)));
    const missing = choices.length > 0 && !hasSafetensors(files)
      ? choices.find((choice) => !whole.includes(choice))?.parts.find((part) => !files.has(part)) ?? null
      : await missingFile(directory, files).catch(() => INDEX_FILE);
    const names = refs.filter(([, named]) => named === commit).map(([ref]) => ref);
    revisions.push({ commit, refs: names, bytes: size, missing, gguf: whole.map((choice) => nameOfChoice(choice, choices)) });
  }
  return { repository, bytes, partialBytes, revisions };
}

/** Names of revisions, and their commits; such as `refs/pr/1` are in folders. */
async function refsIn(directory: string, prefix = ""): Promise<[ref: string, commit: string][]> {
  const found: [string, string][] = [];
  for (const name of await namesIn(directory)) {
    const path = `${directory}/${name}`;
    if ((await Deno.stat(path)).isDirectory) found.push(...await refsIn(path, `${prefix}${name}/`));
    else found.push([prefix + name, (await Deno.readTextFile(path)).trim()]);
  }
  return found;
}

/** Blobs to which no commit links any more. */
async function removeUnused(folder: RepositoryCache): Promise<void> {
  const used = new Set<string>();
  for (const commit of await namesIn(`${folder.root}/snapshots`)) {
    for await (const name of entriesIn(folder.snapshot(commit))) {
      const target = await Deno.readLink(`${folder.snapshot(commit)}/${name}`).catch(() => "");
      used.add(target.split("/").at(-1)!);
    }
  }
  for (const name of await namesIn(`${folder.root}/blobs`)) if (!used.has(name)) await Deno.remove(`${folder.root}/blobs/${name}`);
}

/** Whoever fetches a file holds its lock. */
async function allLocks(folder: RepositoryCache, name: HubName): Promise<Disposable[]> {
  const locks: Disposable[] = [];
  for (const file of await namesIn(folder.locks)) {
    const lock = await tryLock(`${folder.locks}/${file}`);
    if (lock !== null) {
      locks.push(lock);
      continue;
    }
    for (const lock of locks) lock[Symbol.dispose]();
    throw new LatentmeshError("overloaded", `Cannot remove ${formatHubName(name)}: another process fetches it at the moment`, { param: "model" });
  }
  return locks;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return [];
    throw error;
  }
}
