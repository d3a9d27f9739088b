/**
 * Which hub is asked, as whom, and where what it gives is kept: as Python's huggingface_hub has it, so that both find what the other has fetched.
 *
 * @module
 */
import { readEnv } from "../../core/env.ts";
import { userCache } from "../processes/cache_home.ts";
import { grantedEnv } from "../processes/granted_env.ts";

/** How a hub is reached. */
export interface HubAccess {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Sent to the endpoint, and to nobody else. */
  readonly token: string | null;
  /** Directory of the cache. */
  readonly cache: string;
  /** Whether nothing may be asked. */
  readonly offline: boolean;
}

/** What the environment says. @throws {LatentmeshError} `invalid_config` that names the variable */
export async function readHubAccess(env: (name: string) => string | undefined = grantedEnv): Promise<HubAccess> {
  const home = expand(readEnv("HF_HOME", env)) ?? `${userCache()}/huggingface`;
  const tokenFile = expand(readEnv("HF_TOKEN_PATH", env)) ?? `${home}/token`;
  return {
    endpoint: (readEnv("HF_ENDPOINT", env) ?? "https://huggingface.co").replace(/\/+$/, ""),
    token: readEnv("HF_TOKEN", env)?.trim() || await readToken(tokenFile),
    cache: expand(readEnv("HF_HUB_CACHE", env)) ?? `${home}/hub`,
    offline: /^(1|on|yes|true)$/i.test(readEnv("HF_HUB_OFFLINE", env) ?? ""),
  };
}

function expand(path: string | undefined): string | undefined {
  return path?.replace(/^~(?=\/|$)/, grantedEnv("HOME") ?? "~").replace(/(?<=.)\/+$/, "");
}

/** What `hf auth login` has written; whoever has no such file, or may not read it, is nobody in particular. */
async function readToken(path: string): Promise<string | null> {
  try {
    return (await Deno.readTextFile(path)).trim() || null;
  } catch {
    return null;
  }
}
