/**
 * A model on a hub for a plan: what the cache has, or else what can be read of it from where it is.
 *
 * @module
 */
import { parseModelConfig } from "../../core/model/config.ts";
import { formatBytes, log } from "../logs/log.ts";
import { missingFile } from "./cached_snapshot.ts";
import { CONFIG_FILE } from "./needed_files.ts";
import type { HubClient } from "./hub_client.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import { cachedModel, findCommit } from "./pull.ts";
import { openRemote, remoteName } from "./remote_files.ts";
import { RepositoryCache } from "./repository_cache.ts";
import { toFetch } from "./to_fetch.ts";

/** Where to read it: a directory, or as `RemoteFiles` are called. @throws {LatentmeshError} why it cannot be had, or not be run */
export async function describeModel(name: HubName, client: HubClient): Promise<string> {
  const cache = new RepositoryCache(client.access.cache, name.repository);
  const commit = client.access.offline ? null : await findCommit(name, client, cache, new AbortController().signal);
  if (commit === null) return (await cachedModel(name, client, cache)).directory;
  const directory = cache.snapshot(commit);
  if (await missingFile(directory) === null) return directory;
  const files = openRemote(remoteName(name, commit), client);
  const needed = await files.needed();
  parseModelConfig((await files.text(CONFIG_FILE))!, `${formatHubName(name)}/${CONFIG_FILE}`);
  const { all, missing } = await toFetch(cache, commit, needed);
  const model = formatHubName(name);
  log(
    "info",
    `model   ${model} is not here yet (${formatBytes(missing)} of ${
      formatBytes(all)
    } are to be fetched): headers are read from ${client.access.endpoint}`,
  );
  return files.name;
}
