// What this browser keeps for the page. A browser may refuse to: then it is kept until the page is closed.

const PREFIX = "latentmesh-";

/** A `Storage` whose failures are told, not thrown. */
class Kept {
  #storage;
  /** Stands in for what the browser does not keep. */
  #own = new Map();

  constructor(name) {
    try {
      this.#storage = globalThis[name] ?? null;
    } catch {
      this.#storage = null;
    }
  }

  /** @param {string} key @returns {unknown} null: there is nothing, or nothing that can be read */
  get(key) {
    try {
      return JSON.parse(this.#own.get(key) ?? this.#storage?.getItem(PREFIX + key) ?? "null");
    } catch {
      return null;
    }
  }

  /** @param {string} key @param {unknown} value null: forgets it @returns {boolean} whether it is kept */
  set(key, value) {
    this.#own.delete(key);
    try {
      if (value === null) this.#storage?.removeItem(PREFIX + key);
      else if (this.#storage === null) throw new Error("nothing is kept");
      else this.#storage.setItem(PREFIX + key, JSON.stringify(value));
      return true;
    } catch {
      this.#own.set(key, JSON.stringify(value));
      return false;
    }
  }

  /** Keys that begin so. @param {string} beginning @returns {string[]} */
  keys(beginning) {
    const kept = Array.from({ length: this.#storage?.length ?? 0 }, (_, i) => this.#storage.key(i))
      .filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length));
    return [...new Set([...kept, ...this.#own.keys()])].filter((key) => key.startsWith(beginning));
  }
}

/** Until the user clears it. */
export const kept = new Kept("localStorage");
/** Until the tab is closed. */
export const keptInTab = new Kept("sessionStorage");
