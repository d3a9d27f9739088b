/**
 * Work that several wait for, done once: whoever has a turn goes on with it.
 *
 * @module
 */

/** Work in progress, by what it is for. */
export class SharedSteps<K, V> {
  readonly #running = new Map<K, Generator<void, V>>();
  readonly #known: (key: K) => V | undefined;

  /** @param known what has been done; the work itself sees to that */
  constructor(known: (key: K) => V | undefined) {
    this.#known = known;
  }

  /** @param begin begins it, unless somebody has. @throws whatever the work throws, to whom it happens; others try again */
  *take(key: K, begin: () => Generator<void, V>): Generator<void, V> {
    for (let known = this.#known(key);; known = this.#known(key)) {
      if (known !== undefined) return known;
      const steps = this.#running.get(key) ?? begin();
      this.#running.set(key, steps);
      let over = true;
      try {
        const { done, value } = steps.next();
        if (done) return value;
        over = false;
      } finally {
        if (over) this.#running.delete(key);
      }
      yield;
    }
  }
}
