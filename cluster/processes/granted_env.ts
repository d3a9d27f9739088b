/**
 * The environment, as far as it may be read: a library asks for no permission that it can do without.
 *
 * @module
 */

/** A variable; undefined if it is not set, or may not be read. */
export function grantedEnv(variable: string): string | undefined {
  return Deno.permissions.querySync({ name: "env", variable }).state === "granted" ? Deno.env.get(variable) : undefined;
}
