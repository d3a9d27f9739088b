/**
 * Files of a model that are fetched, several at once; those that another process fetches at the moment come last.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { log } from "../logs/log.ts";
import { downloadBlob } from "./download_blob.ts";
import { isFile } from "./file_hash.ts";
import { tryLock } from "./file_lock.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import type { HubClient } from "./hub_client.ts";
import type { HubFile } from "./listing.ts";
import { type RepositoryCache, sizeOf } from "./repository_cache.ts";

/** Files at once: one connection alone is slower than most networks. */
const AT_ONCE = 4;

/** Milliseconds between looks at a lock that another process has. */
const LOOK = 250;

/** How far it has come. */
export interface PullProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What all files of a model have in common. */
export interface FetchingOptions {
  readonly name: HubName;
  readonly commit: string;
  readonly cache: RepositoryCache;
  /** Whether what is there already is hashed, too. */
  readonly verify: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PullProgress) => void;
}

/** Fetches files of one model. */
export class Fetching {
  readonly #client: HubClient;
  readonly #options: FetchingOptions;
  /** Bytes that are there, by path. */
  readonly #there = new Map<string, number>();
  #total = 0;
  #fetched = 0;
  #waits = false;

  constructor(client: HubClient, options: FetchingOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetched;
  }

  /** Fetches what is not there of files. @throws {LatentmeshError} why one of them cannot be had */
  async fetch(files: readonly HubFile[]): Promise<void> {
    const queue = files.filter(({ path }) => !this.#there.has(path));
    this.#total += queue.reduce((sum, { size }) => sum + size, 0);
    const failed = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, failed.signal]);
    const lanes = Array.from({ length: Math.min(AT_ONCE, queue.length) }, () =>
      this.#lane(queue, signal).catch((error) => {
        failed.abort(this.#named(error));
        throw error;
      }));
    // Nothing is written any more when the first error is told.
    const ends = await Promise.allSettled(lanes);
    if (failed.signal.aborted) throw failed.signal.reason;
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  /** Whatever the file system says, as an error that names the cache. */
  #named(error: unknown): unknown {
    if (!(error instanceof Error) || !(error.name in Deno.errors)) return error;
    const { root } = this.#options.cache;
    return new LatentmeshError("invalid_config", `Cannot keep models in ${root}: ${error.message}; set HF_HOME to a directory of yours`, {
      cause: error,
    });
  }

  async #lane(queue: HubFile[], signal: AbortSignal): Promise<void> {
    for (let locked = 0;;) {
      const file = queue.shift();
      if (file === undefined) return;
      signal.throwIfAborted();
      if (await this.#one(file, signal)) {
        locked = 0;
        continue;
      }
      queue.push(file);
      if (++locked < queue.length) continue;
      this.#sayWaiting();
      await this.#client.timing.pause(LOOK, signal);
      locked = 0;
    }
  }

  /** @returns false if another process is at it */
  async #one(file: HubFile, signal: AbortSignal): Promise<boolean> {
    const { cache, commit, name } = this.#options;
    if (await this.#isThere(file, signal)) {
      this.#has(file, file.size);
      return true;
    }
    using lock = await tryLock(cache.lock(file));
    const [blob, partial] = [cache.blob(file), cache.partial(file)];
    if (lock === null) {
      this.#has(file, Math.min(file.size, await sizeOf(partial) ?? 0));
      return false;
    }
    if (!await this.#isGood(blob, file, signal)) {
      await Deno.remove(blob).catch(() => {});
      await downloadBlob(this.#client, {
        name,
        commit,
        file,
        blob,
        partial,
        signal,
        onBytes: (bytes) => this.#has(file, bytes),
        onFetched: (bytes) => this.#fetched += bytes,
      });
    }
    await cache.link(commit, file);
    this.#has(file, file.size);
    return true;
  }

  async #isThere(file: HubFile, signal: AbortSignal): Promise<boolean> {
    const { cache, commit } = this.#options;
    return await cache.has(commit, file) && await this.#isGood(`${cache.snapshot(commit)}/${file.path}`, file, signal);
  }

  /** Whether a file is what is listed: as blobs come to be only when they have been hashed, by its size, unless it is asked for more. */
  async #isGood(path: string, file: HubFile, signal: AbortSignal): Promise<boolean> {
    if (await sizeOf(path) !== file.size) return false;
    if (!this.#options.verify || await isFile(path, file, signal)) return true;
    log("warn", `${path} is not what the hub lists; fetching it again`);
    return false;
  }

  #has(file: HubFile, bytes: number): void {
    this.#there.set(file.path, bytes);
    let done = 0;
    for (const bytes of this.#there.values()) done += bytes;
    this.#options.onProgress({ doneBytes: done, totalBytes: this.#total });
  }

  #sayWaiting(): void {
    if (this.#waits) return;
    this.#waits = true;
    log("info", `another process fetches ${formatHubName(this.#options.name)}, too; waiting for it`);
  }
}
