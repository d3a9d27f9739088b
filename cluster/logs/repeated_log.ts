/**
 * Lines about what strangers can make happen as often as they like: the first at once, then one in a while with a count.
 *
 * @module
 */
import { log } from "./log.ts";

/** Milliseconds between lines. */
const INTERVAL = 10_000;

/** Logs what happens again and again. */
export class RepeatedLog {
  readonly #write: (line: string) => void;
  readonly #now: () => number;
  #next = -Infinity;
  #unsaid = 0;

  constructor(write: (line: string) => void = (line) => log("warn", line), now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  /** It has happened, so many times. */
  say(line: string, times = 1): void {
    this.#unsaid += times;
    const now = this.#now();
    if (now < this.#next) return;
    this.#write(this.#unsaid === 1 ? line : `${line} (${this.#unsaid} times)`);
    this.#unsaid = 0;
    this.#next = now + INTERVAL;
  }
}
