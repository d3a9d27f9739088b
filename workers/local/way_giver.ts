/**
 * Turns of the event loop for everybody else, between pieces of work that take none.
 *
 * @module
 */
import { setImmediate as nextTurn, setTimeout as timer } from "node:timers/promises";

/**
 * Of the time of work, how much others get between two pieces of it.
 *
 * Sockets are looked at when the loop would wait, and otherwise in every 61st turn (Tokio's event interval): with one turn in each step of a fifth of a second, a client
 * was heard after twelve. A timer makes the loop wait.
 */
export const OTHERS_SHARE = 0.02;

/** Milliseconds that the shortest timer takes. */
const SHORTEST = 1;

/** How others get a turn, and what time it is; for tests. */
export interface Turns {
  /** The next turn. */
  next(): Promise<unknown>;
  /** A turn in which sockets are looked at. */
  waiting(): Promise<unknown>;
  /** Milliseconds. */
  now(): number;
}

const TURNS: Turns = { next: () => nextTurn(), waiting: () => timer(0), now: () => performance.now() };

/** Runs work on the thread of the event loop, and gives way before it. */
export class WayGiver {
  readonly #turns: Turns;
  /** Milliseconds that others are owed. */
  #owed = 0;

  constructor(turns: Turns = TURNS) {
    this.#turns = turns;
  }

  /** Gives way, and does a piece of work. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#giveWay();
    const began = this.#turns.now();
    try {
      return await work();
    } finally {
      this.#owed += (this.#turns.now() - began) * OTHERS_SHARE;
    }
  }

  async #giveWay(): Promise<void> {
    if (this.#owed < SHORTEST) return void await this.#turns.next();
    while (this.#owed >= SHORTEST) {
      const began = this.#turns.now();
      await this.#turns.waiting();
      this.#owed -= Math.max(SHORTEST, this.#turns.now() - began);
    }
  }
}
