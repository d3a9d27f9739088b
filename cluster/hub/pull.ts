/**
 * A model from a hub into the cache.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { INDEX_FILE } from "../../core/model/checkpoint.ts";
import { log } from "../logs/log.ts";
import { requireSpace } from "./disk_space.ts";
import { Fetching, type PullProgress } from "./fetching.ts";
import type { GgufChoice } from "./gguf_choice.ts";
import type { HubClient } from "./hub_client.ts";
import { HubFault } from "./hub_errors.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import { type HubFile, type HubListing, resolveCommit } from "./listing.ts";
import { listModel } from "./model_listing.ts";
import { CONFIG_FILE, ggufFiles, smallFiles, weightFiles } from "./needed_files.ts";
import { RemoteFiles, remoteName } from "./remote_files.ts";
import { RepositoryCache } from "./repository_cache.ts";
import { inSnapshot, wrongFile } from "./cached_snapshot.ts";
import { toFetch } from "./to_fetch.ts";

/** How it is done. */
export interface PullOptions {
  readonly onProgress?: (progress: PullProgress) => void;
  /** Whether what is there already is hashed, too. */
  readonly verify?: boolean;
  readonly signal?: AbortSignal;
}

/** A model that is there. */
export interface PulledModel {
  /** Its snapshot. */
  readonly directory: string;
  /** What it is opened by: the same, or its GGUF file. */
  readonly path: string;
  readonly commit: string;
  /** Bytes of its files. */
  readonly bytes: number;
  /** Bytes that came over the network for it. */
  readonly fetchedBytes: number;
}

/** Fetches what is missing of a model. @throws {LatentmeshError} that says what to do; what has come is kept */
export async function pullModel(name: HubName, client: HubClient, options: PullOptions = {}): Promise<PulledModel> {
  const { signal = new AbortController().signal, onProgress = () => {}, verify = false } = options;
  const cache = new RepositoryCache(client.access.cache, name.repository);
  const found = client.access.offline ? null : await findCommit(name, client, cache, signal);
  if (found === null) {
    const there = await cachedModel(name, client, cache);
    const wrong = verify ? await wrongFile(there.directory, signal) : null;
    if (wrong === null) return there;
    throw new LatentmeshError(
      "invalid_checkpoint",
      `Cannot use ${wrong} of ${
        formatHubName(name)
      } in ${there.directory}: it has another hash than it should; fetch it anew with the hub at hand (deno task pull --verify)`,
    );
  }
  const listing = await listModel(client, name, found, signal);
  const { commit } = listing;
  const needed = listing.gguf === null ? safetensorsNeeded(listing, name, cache) : ggufNeeded(listing, listing.gguf, name, client);
  const path = listing.gguf === null ? cache.snapshot(commit) : `${cache.snapshot(commit)}/${listing.gguf.file}`;
  const model = formatHubName(name);
  const pulled = (weights: readonly HubFile[], fetchedBytes: number): PulledModel => {
    const bytes = [...needed.small, ...weights].reduce((sum, { size }) => sum + size, 0);
    return { directory: cache.snapshot(commit), path, commit, bytes, fetchedBytes };
  };
  if (!verify && await hasAll(cache, commit, needed.small)) {
    const weights = await needed.weights();
    if (await hasAll(cache, commit, weights)) {
      // A cache may be somebody else's, to read only.
      await cache.remember(name.revision, commit).catch(() => {});
      return pulled(weights, 0);
    }
  }
  await mayWrite(cache, name);
  log("info", `fetching ${model} from ${client.access.endpoint} into ${client.access.cache}`);
  const fetching = new Fetching(client, { name, commit, cache, verify, signal, onProgress });
  // What cannot be run is refused before anything large is fetched.
  await needed.check(fetching);
  await fetching.fetch(needed.small);
  const weights = await needed.weights();
  await requireSpace(cache.root, (await toFetch(cache, commit, weights)).missing, model);
  await fetching.fetch(weights);
  await cache.remember(name.revision, commit);
  return pulled(weights, fetching.fetchedBytes);
}

/** What is fetched of a model. */
interface NeededFiles {
  readonly small: readonly HubFile[];
  /** Once the small ones are there. */
  weights(): Promise<readonly HubFile[]>;
  /** Looks whether it can be run. @throws {LatentmeshError} why it cannot */
  check(fetching: Fetching): Promise<void>;
}

function safetensorsNeeded({ commit, files }: HubListing, name: HubName, cache: RepositoryCache): NeededFiles {
  const model = formatHubName(name);
  const directory = cache.snapshot(commit);
  const small = smallFiles(files, model);
  return {
    small,
    weights: async () => weightFiles(files, files.has(INDEX_FILE) ? await Deno.readTextFile(`${directory}/${INDEX_FILE}`) : null, model),
    check: async (fetching) => {
      await fetching.fetch(small.filter(({ path }) => path === CONFIG_FILE));
      parseModelConfig(await Deno.readTextFile(`${directory}/${CONFIG_FILE}`), `${model}/${CONFIG_FILE}`);
    },
  };
}

function ggufNeeded({ commit, files }: HubListing, gguf: GgufChoice, name: HubName, client: HubClient): NeededFiles {
  const needed = ggufFiles(files, gguf, formatHubName(name));
  return {
    small: [],
    weights: () => Promise.resolve(needed),
    // All that it says of itself is in the heads of its files.
    check: async () => await new RemoteFiles(remoteName({ ...name, gguf: gguf.file }, commit), client).requireModel(),
  };
}

/** Whether files of a commit are there, in their length. */
async function hasAll(cache: RepositoryCache, commit: string, files: readonly HubFile[]): Promise<boolean> {
  for (const file of files) if (!await cache.has(commit, file)) return false;
  return true;
}

/** The commit to take; null if the hub cannot be asked, and the cache has all of the one that it had last. @throws {LatentmeshError} */
export async function findCommit(name: HubName, client: HubClient, cache: RepositoryCache, signal: AbortSignal): Promise<string | null> {
  const commit = await cache.commitOf(name.revision);
  const isWhole = commit !== null && (await inSnapshot(cache.snapshot(commit), name)).missing === null;
  try {
    // Who has it already is not kept waiting.
    return await resolveCommit(client, name, { signal, mostFaults: isWhole ? 2 : undefined });
  } catch (error) {
    // It was not refused: nobody answered, or asks to come again later.
    const passing = error instanceof LatentmeshError && error.cause instanceof HubFault;
    if (!isWhole || !passing) throw error;
    log("warn", `${error.message}. Taking what the cache has: ${formatHubName(name)} at ${commit}`);
    return null;
  }
}

/** What the cache has, with nobody asked. @throws {LatentmeshError} `not_found` if that is not all of it */
export async function cachedModel(name: HubName, { access: { offline, cache: root } }: HubClient, cache: RepositoryCache): Promise<PulledModel> {
  const commit = await cache.commitOf(name.revision);
  const there = commit === null ? null : await inSnapshot(cache.snapshot(commit), name);
  if (commit !== null && there?.missing === null) {
    return { directory: cache.snapshot(commit), path: there.path, commit, bytes: 0, fetchedBytes: 0 };
  }
  const problem = there === null ? "is not" : `is only in part (${there.missing} is missing)`;
  const why = offline
    ? "HF_HUB_OFFLINE forbids to fetch it; fetch it without (deno task pull), or set HF_HOME to where it is"
    : "the hub cannot be asked";
  throw new LatentmeshError("not_found", `Cannot load ${formatHubName(name)}: it ${problem} in ${root}, and ${why}`, { param: "model" });
}

/** On a terminal Deno asks whoever sits there. */
async function mayWrite(cache: RepositoryCache, name: HubName): Promise<void> {
  // Links need all of it.
  const { state } = await Deno.permissions.request({ name: "write" });
  if (state === "granted") return await cache.prepare();
  throw new LatentmeshError(
    "unauthorized",
    `Cannot keep ${formatHubName(name)}: this program may not write; fetch it with deno task pull ${formatHubName(name)} first`,
    {
      param: "model",
    },
  );
}
