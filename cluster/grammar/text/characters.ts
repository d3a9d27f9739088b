/**
 * Characters as strings of JSON hold them: as they are, or escaped. Quotes, backslashes and control characters must be escaped, characters beyond ASCII may be;
 * others are never, so that each has one form.
 *
 * @module
 */
import { byteSet } from "../automaton/byte_sets.ts";
import { type Expr, type Expressions, NOTHING } from "../automaton/expressions.ts";
import { ALL, type CodePoints, common, without } from "./code_points.ts";
import { type DigitRange, digitRanges } from "./digit_ranges.ts";

/** Characters that strings hold only escaped. */
const ESCAPED: CodePoints = [[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]];
/** Those that have no shorter escape than `\u…`, or may be written so beside being written as they are. */
const BY_NUMBER: CodePoints = [[0, 0x1f], [0x80, 0xd7ff], [0xe000, 0xffff]];
const BEYOND_16_BITS: CodePoints = [[0x10000, 0x10ffff]];
const SHORT: readonly (readonly [character: string, escape: string])[] = [
  ['"', '"'],
  ["\\", "\\"],
  ["\b", "b"],
  ["\f", "f"],
  ["\n", "n"],
  ["\r", "r"],
  ["\t", "t"],
];

/** Code points of as many bytes in UTF-8. */
const UTF8: readonly CodePoints[] = [[[0, 0x7f]], [[0x80, 0x7ff]], [[0x800, 0xffff]], [[0x10000, 0x10ffff]]];

/** Writes characters as JSON strings hold them, or as they are. */
export class Characters {
  readonly #expressions: Expressions;
  readonly #escapes: boolean;
  readonly #written = new Map<string, Expr>();

  /** @param options.escapes false: all stand for themselves */
  constructor(expressions: Expressions, options: { readonly escapes: boolean } = { escapes: true }) {
    this.#expressions = expressions;
    this.#escapes = options.escapes;
  }

  /** Any one character. */
  get any(): Expr {
    return this.of(ALL);
  }

  /** One of these, in any form. */
  of(points: CodePoints): Expr {
    const key = points.join();
    const known = this.#written.get(key);
    if (known !== undefined) return known;
    const x = this.#expressions;
    const written = !this.#escapes ? x.union(this.#plain(points)) : x.union([
      ...this.#plain(without(points, ESCAPED)),
      x.sequence([x.literal("\\"), this.#short(points)]),
      x.sequence([x.literal("\\u"), x.union([...this.#numbered(common(points, BY_NUMBER)), ...this.#surrogates(common(points, BEYOND_16_BITS))])]),
    ]);
    this.#written.set(key, written);
    return written;
  }

  /** These characters one after the other, in any form. */
  text(text: string): Expr {
    return this.#expressions.sequence(Array.from(text, (character) => {
      const point = character.codePointAt(0)!;
      return this.of([[point, point]]);
    }));
  }

  #plain(points: CodePoints): Expr[] {
    return UTF8.flatMap((size) => common(points, size).flatMap(([from, to]) => digitRanges(utf8(from), utf8(to), 0x80, 0xbf)))
      .map((bytes) => this.#expressions.sequence(bytes.map((range) => this.#expressions.bytes(byteSet(range)))));
  }

  #short(points: CodePoints): Expr {
    const escapes = SHORT.filter(([character]) => points.some(([from, to]) => from <= character.charCodeAt(0) && character.charCodeAt(0) <= to));
    if (escapes.length === 0) return NOTHING;
    return this.#expressions.bytes(byteSet(...escapes.map(([, escape]) => [escape.charCodeAt(0), escape.charCodeAt(0)] as const)));
  }

  #numbered(points: CodePoints): Expr[] {
    return points.flatMap(([from, to]) => digitRanges(hexDigits(from), hexDigits(to), 0, 15)).map((digits) => this.#hex(digits));
  }

  /** Two halves, of which the second is written with `\u` again. */
  #surrogates(points: CodePoints): Expr[] {
    const x = this.#expressions;
    const halves = points.flatMap(([from, to]) => digitRanges(surrogates(from), surrogates(to), 0, 0x3ff));
    return halves.map(([high, low]) =>
      x.sequence([
        x.union(this.#numbered([[0xd800 + high[0], 0xd800 + high[1]]])),
        x.literal("\\u"),
        x.union(this.#numbered([[0xdc00 + low[0], 0xdc00 + low[1]]])),
      ])
    );
  }

  #hex(digits: readonly DigitRange[]): Expr {
    const x = this.#expressions;
    return x.sequence(digits.map(([from, to]) => {
      const ranges: [number, number][] = [];
      if (from < 10) ranges.push([0x30 + from, 0x30 + Math.min(to, 9)]);
      for (const a of [0x61, 0x41]) if (to > 9) ranges.push([a - 10 + Math.max(from, 10), a - 10 + to]);
      return x.bytes(byteSet(...ranges));
    }));
  }
}

function utf8(point: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(point))];
}

function hexDigits(point: number): number[] {
  return [point >> 12, (point >> 8) & 15, (point >> 4) & 15, point & 15];
}

/** Both halves, counted from 0. */
function surrogates(point: number): number[] {
  return [(point - 0x10000) >> 10, point & 0x3ff];
}
