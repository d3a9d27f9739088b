/**
 * From what a user calls a model to a directory: one that is there, the embedded one, or one that is fetched from a hub first.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { LoadProgress } from "../../core/wire/load_times.ts";
import { describeModel } from "../hub/describe.ts";
import { readHubAccess } from "../hub/hub_access.ts";
import { HubClient } from "../hub/hub_client.ts";
import { formatHubName, type HubName, parseHubName } from "../hub/hub_name.ts";
import { type PulledModel, pullModel, type PullOptions } from "../hub/pull.ts";
import { formatBytes, log } from "../logs/log.ts";
import { showProgress } from "../logs/progress.ts";
import { fetchEmbeddedModel } from "./embedded_model.ts";
import type { Settings } from "./settings.ts";

/** Directories of which it has been said that they could be names: once is enough. */
const said = new Set<string>();

/** Told how far a download has come. */
export type OnDownload = (progress: LoadProgress) => void;

/**
 * The same settings with a directory for a model, which holds all of it.
 *
 * @throws {LatentmeshError} why the model cannot be had, or the signal's reason
 */
export async function withModelFetched(settings: Settings, onProgress?: OnDownload, signal?: AbortSignal): Promise<Settings> {
  const { model, hub } = await fetchModel(settings.model, onProgress, signal);
  return { ...settings, model, hub: hub ?? settings.hub };
}

/** A model's directory or GGUF file, with what it is called if it came from a hub. @throws {LatentmeshError} why it cannot be had, or the signal's reason */
export async function fetchModel(
  model: string,
  onProgress: OnDownload = () => {},
  signal?: AbortSignal,
): Promise<{ readonly model: string; readonly hub?: HubName }> {
  const name = await hubNameOf(model);
  if (name === null) {
    await fetchEmbeddedModel(model);
    return { model };
  }
  const client = new HubClient(await readHubAccess());
  const { path } = await pullShown(name, client, {
    onProgress: ({ doneBytes, totalBytes }) => onProgress({ loadedBytes: doneBytes, totalBytes, downloading: true }),
    signal,
  });
  return { model: path, hub: name };
}

/**
 * The same settings with a model that can be planned with: of one that has not been fetched, what can be read of it on the hub.
 *
 * @throws {LatentmeshError} why it cannot be had
 */
export async function withModelDescribed(settings: Settings): Promise<Settings> {
  const hub = await hubNameOf(settings.model);
  if (hub !== null) return { ...settings, model: await describeModel(hub, new HubClient(await readHubAccess())), hub };
  await fetchEmbeddedModel(settings.model);
  return settings;
}

/** The name on a hub that a model has; null if it is a directory here, or made up. Of the two a directory wins. */
export async function hubNameOf(model: string): Promise<HubName | null> {
  const name = parseHubName(model);
  if (name === null || model.startsWith("hf:") || !await isDirectory(model)) return name;
  if (!said.has(model)) log("info", `model   ${model} is a directory here, and taken; on the hub it would be hf:${model}`);
  said.add(model);
  return null;
}

/** Fetches a model, and shows how far that has come. @throws {LatentmeshError} why it cannot be had */
export async function pullShown(name: HubName, client: HubClient, options: PullOptions = {}): Promise<PulledModel> {
  const model = formatHubName(name);
  const progress = showProgress("fetching");
  try {
    const pulled = await pullModel(name, client, {
      ...options,
      onProgress: (now) => {
        progress.update(now.doneBytes, now.totalBytes);
        options.onProgress?.(now);
      },
    });
    progress.stop();
    const { path, commit, bytes, fetchedBytes } = pulled;
    const got = fetchedBytes === 0 ? "as the cache has it" : `${formatBytes(fetchedBytes)} fetched of ${formatBytes(bytes)}`;
    log("info", `model   ${model} at ${commit.slice(0, 12)}, ${got}, in ${path}`);
    return pulled;
  } finally {
    progress.stop();
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    if (error instanceof Deno.errors.NotCapable) {
      throw new LatentmeshError("unauthorized", `Cannot look for ${path}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
