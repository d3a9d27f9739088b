/**
 * What is said of a request that was taken without a part of it.
 *
 * @module
 */

/** @param types of tools that were left out @returns null: nothing was */
export function leftOutWarning(types: readonly string[]): string | null {
  if (types.length === 0) return null;
  // It becomes a header, which holds no more than letters of ASCII.
  const named = types.map((type) => type.replace(/[^\x20-\x7e]|["\\]/g, "?").slice(0, 64)).slice(0, 16).join(", ");
  return `tools of these types are not here and were left out: ${named}`;
}
