/**
 * Takes regular expressions of ECMA-262 apart, as far as an automaton can decide them: no references back, no looking behind, no word boundaries. They are read
 * with the flag `u` where that makes them one, and without it otherwise, as Annex B says.
 *
 * @module
 */
import { ALL, type CodePoints, codePoints, common, ONE_UNIT, without } from "../text/code_points.ts";
import { CLASS_ESCAPES, DOT, propertyPoints } from "./character_classes.ts";
import { type PatternTree, UnsupportedPattern } from "./pattern_tree.ts";

const MOST_CHARACTERS = 1 << 14;
const MOST_NESTED = 100;
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, "0": 0 };

/** A pattern, and how it is read. */
export interface ParsedPattern {
  readonly tree: PatternTree;
  /** Whether by code points, as the flag `u` says: always, if it can be. Otherwise by units of UTF-16, of which `tree` says nothing of surrogates. */
  readonly unicode: boolean;
}

/** @throws {UnsupportedPattern} */
export function parsePattern(source: string): ParsedPattern {
  if (source.length > MOST_CHARACTERS) throw new UnsupportedPattern(`it has ${source.length} characters; the most are ${MOST_CHARACTERS}`);
  const unicode = isPattern(source, "u");
  if (!unicode && !isPattern(source, "")) throw new UnsupportedPattern("it is no regular expression");
  return { tree: new PatternParser(source, unicode).parse(), unicode };
}

function isPattern(source: string, flags: string): boolean {
  try {
    return new RegExp(source, flags) !== null;
  } catch {
    return false;
  }
}

class PatternParser {
  readonly #source: string;
  readonly #unicode: boolean;
  #at = 0;
  #depth = 0;

  constructor(source: string, unicode: boolean) {
    this.#source = source;
    this.#unicode = unicode;
  }

  parse(): PatternTree {
    return this.#either();
  }

  #either(): PatternTree {
    if (++this.#depth > MOST_NESTED) throw new UnsupportedPattern("its groups are nested too deeply");
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    this.#depth--;
    return parts.length === 1 ? parts[0] : { kind: "either", parts };
  }

  #sequence(): PatternTree {
    const parts: PatternTree[] = [];
    while (this.#at < this.#source.length && !this.#sees("|") && !this.#sees(")")) parts.push(this.#quantified(this.#atom()));
    return parts.length === 1 ? parts[0] : { kind: "sequence", parts };
  }

  #quantified(part: PatternTree): PatternTree {
    const found = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(this.#source.slice(this.#at, this.#at + 64));
    if (found === null) return part;
    this.#at += found[0].length;
    const [, sign, least, comma, most] = found;
    if (sign !== undefined) return { kind: "repeat", part, min: sign === "+" ? 1 : 0, max: sign === "?" ? 1 : Infinity };
    return { kind: "repeat", part, min: Number(least), max: most !== "" ? Number(most) : comma === "" ? Number(least) : Infinity };
  }

  #atom(): PatternTree {
    const character = this.#next();
    switch (character) {
      case "^":
        return { kind: "start" };
      case "$":
        return { kind: "end" };
      case ".":
        return this.#oneOf(DOT);
      case "(":
        return this.#group();
      case "[":
        return this.#oneOf(this.#class());
      case "\\":
        return this.#oneOf(this.#escape(false));
      default:
        return this.#oneOf(pointOf(character));
    }
  }

  #oneOf(points: CodePoints): PatternTree {
    const sorted = codePoints(points);
    return { kind: "class", points: this.#unicode ? sorted : common(sorted, ONE_UNIT) };
  }

  #group(): PatternTree {
    const opening = /^\?(?::|=|!|<=|<!|<[^>]*>|.)/.exec(this.#source.slice(this.#at, this.#at + 256))?.[0] ?? "";
    this.#at += opening.length;
    const named = opening.startsWith("?<") && opening.endsWith(">");
    if (!["", "?:", "?=", "?!"].includes(opening) && !named) throw new UnsupportedPattern(`"(${opening}" is not supported`);
    const part = this.#either();
    this.#take(")");
    return opening === "?=" || opening === "?!" ? { kind: "ahead", part, negated: opening === "?!" } : part;
  }

  /** After the opening bracket. */
  #class(): CodePoints {
    const negated = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const from = this.#classPart();
      if (this.#sees("-") && this.#source[this.#at + 1] !== "]") {
        this.#at++;
        const to = this.#classPart();
        const range = singlePoint(from) !== null && singlePoint(to) !== null;
        ranges.push(...(range ? [[singlePoint(from)!, singlePoint(to)!] as const] : [...from, ...pointOf("-"), ...to]));
      } else ranges.push(...from);
    }
    const points = codePoints(ranges);
    return negated ? without(ALL, points) : points;
  }

  #classPart(): CodePoints {
    const character = this.#next();
    return character === "\\" ? this.#escape(true) : pointOf(character);
  }

  /** After the backslash. Surrogates are kept: they may begin or end a range. */
  #escape(inClass: boolean): CodePoints {
    const character = this.#next();
    if (!this.#unicode) this.#refuseOtherMeaning(character);
    if (Object.hasOwn(CLASS_ESCAPES, character)) return CLASS_ESCAPES[character];
    if (inClass && character === "b") return [[8, 8]];
    if (inClass && character === "-") return pointOf("-");
    if (/[bBk1-9]/.test(character)) throw new UnsupportedPattern(`"\\${character}" is not supported`);
    if (Object.hasOwn(CONTROLS, character)) return [[CONTROLS[character], CONTROLS[character]]];
    const rest = this.#source.slice(this.#at, this.#at + 128);
    switch (character) {
      case "c": {
        const control = /^[a-zA-Z]/.exec(rest);
        if (control === null) throw new UnsupportedPattern(`"\\c" without a letter is not supported`);
        return this.#pass(control[0], control[0].charCodeAt(0) % 32);
      }
      case "x": {
        const hex = /^[0-9a-fA-F]{2}/.exec(rest);
        return hex === null ? pointOf("x") : this.#pass(hex[0], parseInt(hex[0], 16));
      }
      case "u": {
        const pair = this.#unicode ? /^([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/.exec(rest) : null;
        if (pair !== null) {
          return this.#pass(pair[0], 0x10000 + (parseInt(pair[1], 16) - 0xd800) * 0x400 + parseInt(pair[2], 16) - 0xdc00);
        }
        const hex = /^(?:([0-9a-fA-F]{4})|\{([0-9a-fA-F]+)\})/.exec(rest);
        return hex === null ? pointOf("u") : this.#pass(hex[0], parseInt(hex[1] ?? hex[2], 16));
      }
      case "p":
      case "P": {
        const property = /^\{([^}]*)\}/.exec(rest);
        if (property === null) return pointOf(character);
        this.#at += property[0].length;
        const points = propertyPoints(property[1]);
        return character === "p" ? points : without(ALL, points);
      }
      default:
        return pointOf(character);
    }
  }

  /** Without the flag `u` some escapes are something that nobody means who writes them. */
  #refuseOtherMeaning(character: string): void {
    const begun = `${character}${this.#source[this.#at] ?? ""}`;
    const found = /^(?:[pP]\{|u\{|0[0-9])/.exec(begun);
    if (found === null) return;
    throw new UnsupportedPattern(`"\\${found[0]}" means something else in a pattern that is none with the flag "u", as this one`);
  }

  #pass(text: string, point: number): CodePoints {
    this.#at += text.length;
    return [[point, point]];
  }

  #next(): string {
    if (this.#at >= this.#source.length) throw new UnsupportedPattern("it ends in the middle");
    const character = this.#unicode ? String.fromCodePoint(this.#source.codePointAt(this.#at)!) : this.#source[this.#at];
    this.#at += character.length;
    return character;
  }

  #sees(character: string): boolean {
    return this.#source[this.#at] === character;
  }

  #take(character: string): boolean {
    if (!this.#sees(character)) return false;
    this.#at++;
    return true;
  }
}

function pointOf(character: string): CodePoints {
  return [[character.codePointAt(0)!, character.codePointAt(0)!]];
}

function singlePoint(points: CodePoints): number | null {
  return points.length === 1 && points[0][0] === points[0][1] ? points[0][0] : null;
}
