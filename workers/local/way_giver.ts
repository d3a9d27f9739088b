/**
 * Turns of the event loop for everybody else, between pieces of work that take none.
 *
 * @module
 */
import { setImmediate as nextTurn } from "node:timers/promises";

/**
 * Of the time of work, how much others get between two pieces of it. An exchange with a server takes ten turns or more: with one in each step, a cell whose steps take a
 * fifth of a second could not tell its registry that it lives.
 */
export const OTHERS_SHARE = 0.01;

/** Runs work on the thread of the event loop, and gives way before it. */
export class WayGiver {
  readonly #turn: () => Promise<unknown>;
  readonly #now: () => number;
  /** Milliseconds that others are owed. */
  #owed = 0;

  /** @param options.turn resolves in the next turn @param options.now milliseconds */
  constructor({ turn = nextTurn, now = () => performance.now() }: { readonly turn?: () => Promise<unknown>; readonly now?: () => number } = {}) {
    this.#turn = turn;
    this.#now = now;
  }

  /** Gives others a turn, and as many more as their share of the work before takes. */
  async giveWay(): Promise<void> {
    const until = this.#now() + this.#owed;
    do await this.#turn(); while (this.#now() < until);
  }

  /** Does a piece of work. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const began = this.#now();
    try {
      return await work();
    } finally {
      this.#owed = (this.#now() - began) * OTHERS_SHARE;
    }
  }
}
