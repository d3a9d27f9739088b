/**
 * Stop strings over streamed text, found by the automata of Knuth, Morris and Pratt: a character takes the same time on average, however long the strings are and
 * however much of one is there already.
 *
 * @module
 */

/** Most stop strings of one generation: every character of an answer is compared with all. */
export const MOST_STOPS = 64;
/** Most characters of each. */
export const MOST_STOP_LENGTH = 1024;

/** What one push brought. */
export interface StopResult {
  /** Text that can no longer become part of a stop string. */
  readonly text: string;
  /** Whether a stop string was found; what follows is not in `text`, nor is it unless that was asked for. */
  readonly stopped: boolean;
}

/** One stop string, and by the length of each of its beginnings that of the longest shorter one with which that ends. */
interface Pattern {
  readonly stop: string;
  readonly borders: Uint16Array | Uint32Array;
}

/** The choices of a request have one list. */
const PATTERNS = new WeakMap<readonly string[], readonly Pattern[]>();

function patternsOf(stops: readonly string[]): readonly Pattern[] {
  const known = PATTERNS.get(stops) ?? stops.map((stop) => ({ stop, borders: bordersOf(stop) }));
  PATTERNS.set(stops, known);
  return known;
}

function bordersOf(stop: string): Pattern["borders"] {
  const borders = stop.length < 1 << 16 ? new Uint16Array(stop.length + 1) : new Uint32Array(stop.length + 1);
  for (let length = 2, border = 0; length <= stop.length; length++) {
    const last = stop.charCodeAt(length - 1);
    while (border > 0 && stop.charCodeAt(border) !== last) border = borders[border];
    if (stop.charCodeAt(border) === last) border++;
    borders[length] = border;
  }
  return borders;
}

/**
 * Holds back text that may be the beginning of a stop string. Found is what is complete first, and of several that are at once the longest: however the text is cut into
 * pieces, it ends in the same place.
 */
export class StopMatcher {
  /** The stop string that was found. */
  found: string | null = null;
  readonly #patterns: readonly Pattern[];
  /** How much of each stop string the text ends with. */
  readonly #matched: number[];
  readonly #include: boolean;
  #held = "";

  /** @param stops not empty, each of them @param include whether the stop string is part of the text */
  constructor(stops: readonly string[], include = false) {
    this.#patterns = patternsOf(stops);
    this.#matched = stops.map(() => 0);
    this.#include = include;
  }

  push(text: string): StopResult {
    if (this.#patterns.length === 0) return { text, stopped: false };
    const before = this.#held.length;
    this.#held += text;
    for (let i = 0; i < text.length; i++) {
      const stop = this.#advance(text.charCodeAt(i));
      if (stop === null) continue;
      this.found = stop;
      this.#matched.fill(0);
      const end = before + i + 1;
      return { text: this.#take(this.#include ? end : end - stop.length), stopped: true };
    }
    return { text: this.#take(this.#held.length - Math.max(...this.#matched)), stopped: false };
  }

  /** After a stop: the stop string and what followed it. */
  rest(): string {
    return this.#take(this.#held.length);
  }

  /** The rest, once no more text comes. */
  finish(): string {
    this.#matched.fill(0);
    return this.#take(this.#held.length);
  }

  /** Goes on by one character (a UTF-16 unit). @returns the longest stop string that is complete with it; null: none is */
  #advance(code: number): string | null {
    let found: string | null = null;
    for (let i = 0; i < this.#patterns.length; i++) {
      const { stop, borders } = this.#patterns[i];
      let matched = this.#matched[i];
      while (matched > 0 && stop.charCodeAt(matched) !== code) matched = borders[matched];
      if (stop.charCodeAt(matched) === code) matched++;
      this.#matched[i] = matched;
      if (matched === stop.length && (found === null || matched > found.length)) found = stop;
    }
    return found;
  }

  #take(length: number): string {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return text;
  }
}
