/**
 * Names of what is answered.
 *
 * @module
 */

/** A name, unique in any conversation: `toolu_…`. */
export function newId(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
}
