/**
 * Why a schema cannot be held to.
 *
 * @module
 */

/** Names the keyword and where it stands. */
export class UnsupportedSchema extends Error {
  /** @param path of the schema that has the keyword, such as `#/properties/a` */
  constructor(keyword: string, path: string, why: string) {
    super(`"${keyword}" at ${path} ${why}`);
  }
}
