/**
 * Why a schema cannot be held to.
 *
 * @module
 */

/** Names the keyword and where it stands. */
export class UnsupportedSchema extends Error {
  /**
   * @param keyword null: all of them together
   * @param path of the schema that has the keyword, such as `#/properties/a`
   */
  constructor(keyword: string | null, path: string, why: string) {
    super(`${keyword === null ? "the schema" : `"${keyword}"`} at ${path} ${why}`);
  }
}
