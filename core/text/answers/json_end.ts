/**
 * Where a value of JSON ends, as it comes.
 *
 * @module
 */

/** Options of {@link JsonEnd}. */
export interface JsonEndOptions {
  /** Characters before which a value that is neither object nor array ends; default: such values do not come. */
  readonly scalars?: string;
}

/** Looks for the end of one value. */
export class JsonEnd {
  readonly #scalars: string | null;
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor({ scalars }: JsonEndOptions = {}) {
    this.#scalars = scalars ?? null;
  }

  /** How much of `text` belongs to the value, up to its end; -1: all of it, and there is more to come. */
  push(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const character = text[i];
      if (this.#escaped) this.#escaped = false;
      else if (this.#inString) {
        if (character === "\\") this.#escaped = true;
        else if (character === '"') {
          this.#inString = false;
          if (this.#depth === 0 && this.#scalars !== null) return i + 1;
        }
      } else if (this.#depth === 0 && this.#scalars?.includes(character)) return i;
      else if (character === '"') this.#inString = true;
      else if (character === "{" || character === "[") this.#depth++;
      else if (character === "}" || character === "]") {
        if (--this.#depth <= 0) return i + 1;
      }
    }
    return -1;
  }
}
