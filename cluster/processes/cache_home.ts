/**
 * Where what was fetched or computed once is kept for this user.
 *
 * @module
 */

/** The folder: in `XDG_CACHE_HOME`, else in `.cache` at home, as far as these variables may be read; else in the working directory. */
export function cacheHome(): string {
  const read = (variable: string) => Deno.permissions.querySync({ name: "env", variable }).state === "granted" ? Deno.env.get(variable) : undefined;
  return `${read("XDG_CACHE_HOME") ?? `${read("HOME") ?? read("USERPROFILE") ?? "."}/.cache`}/latentmesh`;
}
