/**
 * Stop strings over streamed text.
 *
 * @module
 */

/** What one push brought. */
export interface StopResult {
  /** Text that can no longer become part of a stop string. */
  readonly text: string;
  /** Whether a stop string was found; it and what follows are not in `text`. */
  readonly stopped: boolean;
}

/** Holds back text that may be the beginning of a stop string. */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = "";

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  push(text: string): StopResult {
    if (this.#stops.length === 0) return { text, stopped: false };
    this.#held += text;
    const found = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) return { text: this.#take(Math.min(...found)), stopped: true };
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
