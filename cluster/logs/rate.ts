/**
 * How fast something goes on, and how long it will take.
 *
 * @module
 */

/** Milliseconds over which it is averaged: networks have moods. */
const WINDOW = 10_000;

/** Milliseconds after which there is something to tell. */
const LEAST = 500;

/** Amounts that were done, and when. */
export class Rate {
  readonly #now: () => number;
  /** The oldest first; the first of all is what was done before. */
  readonly #points: { readonly at: number; readonly done: number }[] = [];

  /** @param now milliseconds on some clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** So much is done by now. */
  update(done: number): void {
    const at = this.#now();
    const last = this.#points.at(-1);
    // What comes in thousands of pieces is not kept piece by piece.
    if (last !== undefined && this.#points.length > 1 && at - this.#points.at(-2)!.at < WINDOW / 100) this.#points.pop();
    this.#points.push({ at, done });
    while (this.#points.length > 2 && this.#points[1].at < at - WINDOW) this.#points.shift();
  }

  /** An amount per second; null where it is too early to tell. */
  get perSecond(): number | null {
    const [first, last] = [this.#points[0], this.#points.at(-1)];
    const ms = first === undefined ? 0 : this.#now() - first.at;
    return ms < LEAST ? null : Math.max(0, (last!.done - first.done) * 1000 / ms);
  }

  /** Seconds until `total` is done; null where that cannot be told. */
  secondsLeft(total: number): number | null {
    const rate = this.perSecond;
    const last = this.#points.at(-1);
    return rate === null || rate === 0 || last === undefined ? null : Math.max(0, total - last.done) / rate;
  }
}

/** `40 s`, `3 min`, `2.5 h`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  return seconds < 100 * 60 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
