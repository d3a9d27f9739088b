/**
 * `pull`: fetches models from a hub into the cache, for later.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { pullShown } from "../config/fetch_model.ts";
import { readHubAccess } from "../hub/hub_access.ts";
import { HubClient } from "../hub/hub_client.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { printLine } from "../logs/log.ts";

/** Flags of the command. */
export interface PullFlags {
  readonly verify?: boolean;
}

/** Fetches, and prints the directories and GGUF files. */
export async function pull(models: readonly string[], { verify = false }: PullFlags): Promise<void> {
  const names = models.map((model) => {
    const name = parseHubName(model);
    if (name !== null) return name;
    throw new LatentmeshError(
      "invalid_config",
      `Cannot fetch "${model}": models on the hub are called org/name or org/name@revision, and of GGUF files org/name:Q4_K_M`,
      {
        param: "model",
      },
    );
  });
  const client = new HubClient(await readHubAccess());
  for (const name of names) printLine((await pullShown(name, client, { verify })).path);
}
