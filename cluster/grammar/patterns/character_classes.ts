/**
 * Classes of characters that patterns have names for.
 *
 * @module
 */
import { ALL, type CodePoints, codePoints, without } from "../text/code_points.ts";
import { UnsupportedPattern } from "./pattern_tree.ts";

const LINE_ENDS: CodePoints = [[0xa, 0xa], [0xd, 0xd], [0x2028, 0x2029]];

/** What `.` stands for. */
export const DOT: CodePoints = without(ALL, LINE_ENDS);

const DIGITS: CodePoints = [[0x30, 0x39]];
const WORD: CodePoints = [[0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const SPACE: CodePoints = codePoints([
  ...[[0x9, 0xd], [0x20, 0x20], [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200a], [0x2028, 0x2029]] as const,
  ...[[0x202f, 0x202f], [0x205f, 0x205f], [0x3000, 0x3000], [0xfeff, 0xfeff]] as const,
]);

/** Classes by the letter of their escape. */
export const CLASS_ESCAPES: Readonly<Record<string, CodePoints>> = {
  d: DIGITS,
  D: without(ALL, DIGITS),
  w: WORD,
  W: without(ALL, WORD),
  s: SPACE,
  S: without(ALL, SPACE),
};

const properties = new Map<string, CodePoints>();

/** Code points with a Unicode property, such as `L` or `Script=Greek`. @throws {UnsupportedPattern} if there is none of that name */
export function propertyPoints(name: string): CodePoints {
  const known = properties.get(name);
  if (known !== undefined) return known;
  let run: RegExp;
  try {
    run = new RegExp(`\\p{${name}}+`, "gu");
  } catch {
    throw new UnsupportedPattern(`there is no Unicode property "${name}"`);
  }
  const ranges: [number, number][] = [];
  for (const [from, to] of ALL) {
    const PIECE = 4096;
    for (let first = from; first <= to; first += PIECE) {
      const points = Array.from({ length: Math.min(PIECE, to - first + 1) }, (_, i) => first + i);
      for (const [found] of String.fromCodePoint(...points).matchAll(run)) {
        const characters = [...found];
        ranges.push([characters[0].codePointAt(0)!, characters[characters.length - 1].codePointAt(0)!]);
      }
    }
  }
  const points = codePoints(ranges);
  properties.set(name, points);
  return points;
}
