/**
 * Where what was fetched or computed once is kept for this user.
 *
 * @module
 */
import { grantedEnv } from "./granted_env.ts";

/** The folder: in {@link userCache}. */
export function cacheHome(): string {
  return `${userCache()}/latentmesh`;
}

/** `XDG_CACHE_HOME`, else `.cache` at home, as far as these variables may be read; else in the working directory. */
export function userCache(): string {
  return grantedEnv("XDG_CACHE_HOME") ?? `${grantedEnv("HOME") ?? grantedEnv("USERPROFILE") ?? "."}/.cache`;
}
