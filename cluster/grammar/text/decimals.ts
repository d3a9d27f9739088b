/**
 * Decimal numbers without signs and exponents, bounded from below or above.
 *
 * @module
 */
import { byteSet } from "../automaton/byte_sets.ts";
import { EMPTY, type Expr, type Expressions, NOTHING } from "../automaton/expressions.ts";

/** A number's digits: without leading zeros (but for a single one), and without trailing zeros behind the point. */
export interface Decimal {
  readonly whole: string;
  readonly fraction: string;
}

/** Most digits before and behind the point. */
export interface DecimalDigits {
  readonly whole: number;
  readonly fraction: number;
}

/** The digits of a number ≥ 0, as JavaScript writes it. */
export function decimalOf(value: number): Decimal {
  const [mantissa, exponent = "0"] = String(value).split("e");
  const [before, behind = ""] = mantissa.split(".");
  const point = before.length + Number(exponent);
  const digits = (before + behind).padEnd(point, "0").padStart(before.length + behind.length + Math.max(0, 1 - point), "0");
  const at = Math.max(1, point);
  return { whole: digits.slice(0, at).replace(/^0+(?=\d)/, ""), fraction: digits.slice(at).replace(/0+$/, "") };
}

/** Writes decimals. */
export class Decimals {
  readonly #expressions: Expressions;

  constructor(expressions: Expressions) {
    this.#expressions = expressions;
  }

  /** From `min` to `max` digits. */
  digits(min: number, max: number): Expr {
    return max < min ? NOTHING : this.#expressions.repeat(this.#digit(0, 9), min, max);
  }

  /** Any. */
  any({ whole, fraction }: DecimalDigits): Expr {
    return this.#expressions.sequence([this.whole(whole), this.#fraction(this.digits(1, fraction))]);
  }

  /** Whole numbers. */
  whole(most: number): Expr {
    const x = this.#expressions;
    return x.union([x.literal("0"), x.sequence([this.#digit(1, 9), this.digits(0, most - 1)])]);
  }

  /** Those that are not above a bound, or below it. */
  atMost(bound: Decimal, exclusive: boolean, most: DecimalDigits): Expr {
    const x = this.#expressions;
    return x.union([
      x.sequence([this.#less(bound.whole), this.#fraction(this.digits(1, most.fraction))]),
      x.sequence([x.literal(bound.whole), this.#fractionAtMost(bound.fraction, exclusive, most.fraction)]),
    ]);
  }

  /** Those that are not below a bound, or above it. */
  atLeast(bound: Decimal, exclusive: boolean, most: DecimalDigits): Expr {
    const x = this.#expressions;
    return x.union([
      x.sequence([this.#greater(bound.whole, most.whole), this.#fraction(this.digits(1, most.fraction))]),
      x.sequence([x.literal(bound.whole), this.#fractionAtLeast(bound.fraction, exclusive, most.fraction)]),
    ]);
  }

  #less(whole: string): Expr {
    if (whole === "0") return NOTHING;
    const x = this.#expressions;
    const shorter = whole.length === 1 ? NOTHING : x.sequence([this.#digit(1, 9), this.digits(0, whole.length - 2)]);
    return x.union([x.literal("0"), shorter, ...this.#differing(whole, (digit, i) => this.#digit(i === 0 ? 1 : 0, digit - 1))]);
  }

  #greater(whole: string, most: number): Expr {
    const x = this.#expressions;
    if (whole === "0") return x.sequence([this.#digit(1, 9), this.digits(0, most - 1)]);
    const longer = x.sequence([this.#digit(1, 9), this.digits(whole.length, most - 1)]);
    return x.union([longer, ...this.#differing(whole, (digit) => this.#digit(digit + 1, 9))]);
  }

  /** Numbers of as many digits, by the first in which they differ. */
  #differing(whole: string, other: (digit: number, i: number) => Expr): Expr[] {
    return Array.from(whole, (digit, i) => {
      const rest = whole.length - i - 1;
      return this.#expressions.sequence([this.#expressions.literal(whole.slice(0, i)), other(Number(digit), i), this.digits(rest, rest)]);
    });
  }

  #fraction(digits: Expr): Expr {
    const x = this.#expressions;
    return digits === NOTHING ? EMPTY : x.optional(x.sequence([x.literal("."), digits]));
  }

  #fractionAtMost(bound: string, exclusive: boolean, most: number): Expr {
    const x = this.#expressions;
    if (bound === "" && exclusive) return NOTHING;
    const below = Array.from(bound, (digit, i) => {
      const begin = x.literal(bound.slice(0, i));
      const less = x.sequence([begin, this.#digit(0, Number(digit) - 1), this.digits(0, most - i - 1)]);
      return i === 0 ? less : x.union([begin, less]);
    });
    const equal = exclusive ? NOTHING : this.#followed(bound, this.#digit(0, 0), most);
    return this.#fraction(x.union([...below, equal]));
  }

  #fractionAtLeast(bound: string, exclusive: boolean, most: number): Expr {
    const x = this.#expressions;
    const above = Array.from(
      bound,
      (digit, i) => x.sequence([x.literal(bound.slice(0, i)), this.#digit(Number(digit) + 1, 9), this.digits(0, most - i - 1)]),
    );
    const rest = Math.max(0, most - bound.length);
    const zeros = Array.from(
      { length: rest },
      (_, i) => x.sequence([x.repeat(this.#digit(0, 0), i, i), this.#digit(1, 9), this.digits(0, rest - i - 1)]),
    );
    const equal = exclusive ? x.sequence([x.literal(bound), x.union(zeros)]) : this.#followed(bound, this.#digit(0, 9), most);
    const written = x.union([...above, equal]);
    if (bound === "" && !exclusive) return this.#fraction(written);
    return written === NOTHING ? NOTHING : x.sequence([x.literal("."), written]);
  }

  /** Digits of a fraction that begin so: at least one. */
  #followed(begin: string, digit: Expr, most: number): Expr {
    const x = this.#expressions;
    const rest = Math.max(0, most - begin.length);
    if (begin !== "") return x.sequence([x.literal(begin), x.repeat(digit, 0, rest)]);
    return rest === 0 ? NOTHING : x.repeat(digit, 1, rest);
  }

  #digit(from: number, to: number): Expr {
    return from > to ? NOTHING : this.#expressions.bytes(byteSet([0x30 + from, 0x30 + to]));
  }
}
