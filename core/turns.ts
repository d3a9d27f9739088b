/**
 * One after the other: work that shares something which only one may use at a time.
 *
 * @module
 */

/** A queue of work. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything that asked before has ended, however it ended. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Waits for the turn and keeps it until the function that comes back is called. */
  async acquire(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#last;
    this.#last = before.then(() => promise);
    await before;
    return resolve;
  }

  /** Resolves when everything that has asked so far has ended. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
