/**
 * Tokens of nothing but plain characters, such as words: where any text may come they are all allowed, and need not be looked at one by one.
 *
 * @module
 */
import type { Automaton, State } from "../automaton/automaton.ts";
import type { GrammarVocabulary } from "./vocabulary.ts";

/** Characters that a token may have and still count as plain. */
export const MOST_PLAIN = 24;

/** How many characters a token has if all are such as strings of JSON hold unescaped; 0 if not all are, or too many. */
export function plainLength(vocabulary: GrammarVocabulary, token: number): number {
  const { bytes, offsets } = vocabulary;
  const end = offsets[token + 1];
  let count = 0;
  for (let i = offsets[token]; i < end; count++) {
    const size = characterSize(bytes, i, end);
    if (size === 0) return 0;
    i += size;
  }
  return count > MOST_PLAIN ? 0 : count;
}

/** Bytes of the plain character at a place; 0 if there is none. */
function characterSize(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at];
  if (first < 0x80) return first >= 0x20 && first !== 0x22 && first !== 0x5c ? 1 : 0;
  for (const { from, to, low, high, size } of LEADS) {
    if (first < from || first > to) continue;
    if (at + size > end || bytes[at + 1] < low || bytes[at + 1] > high) return 0;
    for (let i = 2; i < size; i++) if (bytes[at + i] < 0x80 || bytes[at + i] > 0xbf) return 0;
    return size;
  }
  return 0;
}

/** First and second bytes of characters in UTF-8. */
const LEADS = [
  { from: 0xc2, to: 0xdf, low: 0x80, high: 0xbf, size: 2 },
  { from: 0xe0, to: 0xe0, low: 0xa0, high: 0xbf, size: 3 },
  { from: 0xe1, to: 0xec, low: 0x80, high: 0xbf, size: 3 },
  { from: 0xed, to: 0xed, low: 0x80, high: 0x9f, size: 3 },
  { from: 0xee, to: 0xef, low: 0x80, high: 0xbf, size: 3 },
  { from: 0xf0, to: 0xf0, low: 0x90, high: 0xbf, size: 4 },
  { from: 0xf1, to: 0xf3, low: 0x80, high: 0xbf, size: 4 },
  { from: 0xf4, to: 0xf4, low: 0x80, high: 0x8f, size: 4 },
];

/** The state to which any plain character leads; DEAD if none may come; null if it depends on the character. */
export function afterPlain(automaton: Automaton, state: State): State | null {
  const after = new Set(PLAIN_ASCII.map((byte) => automaton.step(state, byte)));
  for (const { from, to, low, high, size } of LEADS) {
    if (after.size > 1) return null;
    let reached = stepAll(automaton, stepAll(automaton, new Set([state]), from, to), low, high);
    for (let i = 2; i < size; i++) reached = stepAll(automaton, reached, 0x80, 0xbf);
    for (const one of reached) after.add(one);
  }
  const [only] = after;
  return after.size > 1 ? null : only;
}

const PLAIN_ASCII = Array.from({ length: 0x60 }, (_, i) => 0x20 + i).filter((byte) => byte !== 0x22 && byte !== 0x5c);

/** All states to which a byte of a range leads. */
function stepAll(automaton: Automaton, states: ReadonlySet<State>, from: number, to: number): Set<State> {
  const after = new Set<State>();
  for (const state of states) for (let byte = from; byte <= to; byte++) after.add(automaton.step(state, byte));
  return after;
}
