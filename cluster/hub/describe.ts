/**
 * A model on a hub for a plan: what the cache has, or else what can be read of it from where it is.
 *
 * @module
 */
import { formatBytes, log } from "../logs/log.ts";
import { inSnapshot, missingFile } from "./cached_snapshot.ts";
import type { HubClient } from "./hub_client.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import { listModel } from "./model_listing.ts";
import { cachedModel, findCommit } from "./pull.ts";
import { openRemote, remoteName } from "./remote_files.ts";
import { RepositoryCache } from "./repository_cache.ts";
import { toFetch } from "./to_fetch.ts";

/** Where to read it: a directory, or as `RemoteFiles` are called. @throws {LatentmeshError} why it cannot be had, or not be run */
export async function describeModel(name: HubName, client: HubClient): Promise<string> {
  const cache = new RepositoryCache(client.access.cache, name.repository);
  const commit = client.access.offline ? null : await findCommit(name, client, cache, new AbortController().signal);
  if (commit === null) return (await cachedModel(name, client, cache)).path;
  const directory = cache.snapshot(commit);
  if (name.gguf === undefined && await missingFile(directory) === null) return directory;
  const { gguf } = await listModel(client, name, commit, new AbortController().signal);
  const chosen = gguf === null ? name : { ...name, gguf: gguf.file };
  const there = await inSnapshot(directory, chosen);
  if (there.missing === null) return there.path;
  const location = remoteName(chosen, commit);
  const files = openRemote(location, client);
  const needed = await files.needed();
  await files.requireModel();
  const { all, missing } = await toFetch(cache, commit, needed);
  const model = formatHubName(name);
  log(
    "info",
    `model   ${model} is not here yet (${formatBytes(missing)} of ${
      formatBytes(all)
    } are to be fetched): headers are read from ${client.access.endpoint}`,
  );
  return location;
}
