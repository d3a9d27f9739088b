/**
 * How fast requests come to their end, to tell those that are turned away when to come again.
 *
 * @module
 */

/** Weight of the newest interval. */
const NEWEST = 0.1;

/** Mean time between two ends, the latest counting most. */
export class CompletionRate {
  #last: number | null = null;
  #interval: number | null = null;

  /** A request was served to its end. @param now in milliseconds */
  ended(now: number): void {
    if (this.#last !== null) {
      const interval = now - this.#last;
      this.#interval = this.#interval === null ? interval : this.#interval + NEWEST * (interval - this.#interval);
    }
    this.#last = now;
  }

  /** Milliseconds in which `count` requests will have been served; undefined: nothing is known yet. */
  timeFor(count: number): number | undefined {
    return this.#interval === null ? undefined : this.#interval * count;
  }
}
