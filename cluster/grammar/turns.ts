/**
 * Work of several clients in one thread: in turns, a little at a time, so that nobody waits for what another asked for.
 *
 * @module
 */

/** Milliseconds of a turn. */
const TURN = 2;

/** Something that is done step by step; it deals with its own errors. */
export type Steps = Generator<void, void>;

/** Gives clients turns. */
export class Turns {
  readonly #waiting = new Map<string, Steps[]>();
  readonly #pause: () => Promise<void>;
  readonly #clock: () => number;
  #running = false;

  /**
   * @param pause lets what has come in meanwhile be heard
   * @param clock in milliseconds
   */
  constructor(pause: () => Promise<void>, clock: () => number = () => performance.now()) {
    this.#pause = pause;
    this.#clock = clock;
  }

  /** Does something in turn with what else there is. */
  add(client: string, steps: Steps): void {
    const waiting = this.#waiting.get(client);
    if (waiting === undefined) this.#waiting.set(client, [steps]);
    else waiting.push(steps);
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.size > 0) {
      for (const [client, waiting] of this.#waiting) {
        this.#take(waiting);
        if (waiting.length === 0) this.#waiting.delete(client);
        await this.#pause();
      }
    }
    this.#running = false;
  }

  /** One turn: as much as fits. What is not done by then comes after what else the client has asked for. */
  #take(waiting: Steps[]): void {
    const until = this.#clock() + TURN;
    while (waiting.length > 0) {
      const done = waiting[0].next().done;
      const over = this.#clock() >= until;
      if (done || over) {
        const [steps] = waiting.splice(0, 1);
        if (!done) waiting.push(steps);
      }
      if (over) return;
    }
  }
}
