/**
 * Why a schema cannot be held to.
 *
 * @module
 */
import { pathTo, type Place, quoted } from "./place.ts";

/** Names the keyword and where it stands. */
export class UnsupportedSchema extends Error {
  /**
   * @param keyword null: all of them together
   * @param place of the schema that has the keyword
   */
  constructor(keyword: string | null, place: Place, why: string) {
    super(`${keyword === null ? "the schema" : quoted(keyword)} at ${pathTo(place)} ${why}`);
  }
}
