/**
 * Stop strings over streamed text.
 *
 * @module
 */

/** What one push brought. */
export interface StopResult {
  /** Text that can no longer become part of a stop string. */
  readonly text: string;
  /** Whether a stop string was found; what follows is not in `text`, nor is it unless that was asked for. */
  readonly stopped: boolean;
}

/** Holds back text that may be the beginning of a stop string. */
export class StopMatcher {
  /** The stop string that was found. */
  found: string | null = null;
  readonly #stops: readonly string[];
  readonly #include: boolean;
  #held = "";

  /** @param include whether the stop string is part of the text */
  constructor(stops: readonly string[], include = false) {
    this.#stops = stops;
    this.#include = include;
  }

  push(text: string): StopResult {
    if (this.#stops.length === 0) return { text, stopped: false };
    this.#held += text;
    const found = this.#stops.map((stop) => ({ at: this.#held.indexOf(stop), stop, length: stop.length })).filter(({ at }) => at >= 0);
    if (found.length > 0) {
      // The first, and of several that begin there the shortest: of a stream that comes slowly, it would be found before the others.
      const { at, stop, length } = found.reduce((best, next) => next.at < best.at || next.at === best.at && next.length < best.length ? next : best);
      this.found = stop;
      return { text: this.#take(at + (this.#include ? length : 0)), stopped: true };
    }
    return { text: this.#take(this.#held.length - this.#possibleStart()), stopped: false };
  }

  /** After a stop: the stop string and what followed it. */
  rest(): string {
    return this.#take(this.#held.length);
  }

  /** The rest, once no more text comes. */
  finish(): string {
    return this.#take(this.#held.length);
  }

  /** Length of the longest end of the held text with which a stop string begins. */
  #possibleStart(): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, this.#held.length); length > 0; length--) {
      const end = this.#held.slice(-length);
      if (this.#stops.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }

  #take(length: number): string {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return text;
  }
}
