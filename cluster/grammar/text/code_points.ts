/**
 * Sets of code points as sorted ranges that do not touch.
 *
 * @module
 */

/** Inclusive ranges, ascending. */
export type CodePoints = readonly (readonly [from: number, to: number])[];

const LAST = 0x10ffff;

/** Every code point but surrogates, which no text holds. */
export const ALL: CodePoints = [[0, 0xd7ff], [0xe000, LAST]];

/** Those that are one unit of UTF-16. */
export const ONE_UNIT: CodePoints = [[0, 0xd7ff], [0xe000, 0xffff]];

/** Sorted, joined, without surrogates. */
export function codePoints(ranges: CodePoints): CodePoints {
  const sorted = ranges.toSorted((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [from, to] of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else joined.push([from, to]);
  }
  return common(joined, ALL);
}

/** Those of a text's characters. */
export function pointsOf(text: string): CodePoints {
  return codePoints(Array.from(text, (character) => [character.codePointAt(0)!, character.codePointAt(0)!] as const));
}

export function common(a: CodePoints, b: CodePoints): CodePoints {
  const both: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [from, to] = [Math.max(a[i][0], b[j][0]), Math.min(a[i][1], b[j][1])];
    if (from <= to) both.push([from, to]);
    if (a[i][1] < b[j][1]) i++;
    else j++;
  }
  return both;
}

export function without(a: CodePoints, b: CodePoints): CodePoints {
  const gaps: [number, number][] = [];
  let next = 0;
  for (const [from, to] of b) {
    if (from > next) gaps.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= LAST) gaps.push([next, LAST]);
  return common(a, gaps);
}
