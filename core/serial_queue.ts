/**
 * Work that shares something which only one may use at a time, one after the other.
 *
 * @module
 */

/** Work that is done one after the other. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything that asked before has ended, however it ended. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Resolves when everything that has asked so far has ended. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
