/**
 * Where an object or array of JSON ends, as it comes.
 *
 * @module
 */

/** Looks for the end of one object or array. */
export class JsonEnd {
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** How much of `text` belongs to the value, up to its end; -1: all of it, and there is more to come. */
  push(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const character = text[i];
      if (this.#escaped) this.#escaped = false;
      else if (this.#inString) {
        if (character === "\\") this.#escaped = true;
        else if (character === '"') this.#inString = false;
      } else if (character === '"') this.#inString = true;
      else if (character === "{" || character === "[") this.#depth++;
      else if (character === "}" || character === "]") {
        if (--this.#depth <= 0) return i + 1;
      }
    }
    return -1;
  }
}
