/**
 * Numbers of JSON within bounds.
 *
 * Bounds are compared digit by digit, where JSON's readers compare the nearest doubles. Rounding keeps the order of two numbers but may make them equal, so
 * exclusive bounds leave so few digits that different numbers stay different.
 *
 * @module
 */
import { byteSet } from "../automaton/byte_sets.ts";
import type { Derivation } from "../automaton/derivation.ts";
import { type Expr, type Expressions, NOTHING, TooComplex } from "../automaton/expressions.ts";
import { type DecimalDigits, decimalOf, Decimals } from "./decimals.ts";

/** One end of a range. */
export interface NumberBound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** What a number has to be. */
export interface NumberRules {
  readonly integer: boolean;
  readonly min: NumberBound | null;
  readonly max: NumberBound | null;
  /** Positive integers of which it is a multiple. */
  readonly multiplesOf: readonly number[];
}

/** Most digits of numbers that have no bounds: of these, no reader makes infinity. */
const MOST_DIGITS = 20;
const MOST_INTEGER_DIGITS = 19;
/** Different decimal numbers of so many digits are different doubles. */
export const EXACT_DIGITS = 15;
/** Remainders that multiples may have: one digit more of them is still a whole number. */
const MOST_FACTOR = 2 ** 40;

/** Writes numbers. */
export class Numbers {
  readonly #expressions: Expressions;
  readonly #derivation: Derivation;
  readonly #decimals: Decimals;
  /** Kept, so that a search that has begun is gone on with. */
  readonly #multiplesOf = new Map<string, Expr>();

  constructor(expressions: Expressions, derivation: Derivation) {
    this.#expressions = expressions;
    this.#derivation = derivation;
    this.#decimals = new Decimals(expressions);
  }

  /** The numbers that fit; nothing if none does. */
  of(rules: NumberRules): Expr {
    const x = this.#expressions;
    const { integer, multiplesOf } = rules;
    if (!integer && rules.min === null && rules.max === null && multiplesOf.length === 0) return this.#any();
    const whole = integer || multiplesOf.length > 0;
    const min = whole && rules.min !== null ? nextWhole(rules.min) : rules.min;
    const max = whole && rules.max !== null ? flipped(nextWhole(flipped(rules.max))) : rules.max;
    const zero = { value: 0, exclusive: true };
    const positive = this.#between(rules, min !== null && min.value >= 0 ? min : null, max);
    // Zero has no sign.
    const negative = this.#between(rules, max !== null && max.value < 0 ? flipped(max) : zero, min === null ? null : flipped(min));
    return x.union([positive, x.sequence([x.literal("-"), negative])]);
  }

  #any(): Expr {
    const x = this.#expressions;
    const decimal = this.#decimals.any({ whole: MOST_DIGITS, fraction: MOST_DIGITS });
    const sign = x.optional(x.bytes(byteSet([0x2b, 0x2b], [0x2d, 0x2d])));
    const exponent = x.sequence([x.bytes(byteSet([0x45, 0x45], [0x65, 0x65])), sign, this.#decimals.digits(1, 2)]);
    return x.sequence([x.optional(x.literal("-")), decimal, x.optional(exponent)]);
  }

  /** Numbers ≥ 0 between bounds. */
  #between({ integer, multiplesOf }: NumberRules, min: NumberBound | null, max: NumberBound | null): Expr {
    if (max !== null && (max.value < 0 || (max.value === 0 && max.exclusive) || (min !== null && min.value > max.value))) return NOTHING;
    const whole = integer || multiplesOf.length > 0;
    if (multiplesOf.length > 0 && min !== null && decimalOf(min.value).whole.length > EXACT_DIGITS) return NOTHING;
    const most: DecimalDigits = { whole: mostDigits(whole, min), fraction: whole ? 0 : fractionDigits(min, max) };
    const factor = multiplesOf.reduce(leastCommonMultiple, 1);
    if (factor > MOST_FACTOR) throw new TooComplex(`multiples of ${multiplesOf.join(" and ")} have too many states`);
    const digits = Math.min(EXACT_DIGITS, max === null ? EXACT_DIGITS : decimalOf(max.value).whole.length);
    const parts = [
      min === null ? this.#decimals.any(most) : this.#decimals.atLeast(decimalOf(min.value), min.exclusive, most),
      ...(max === null ? [] : [this.#decimals.atMost(decimalOf(max.value), max.exclusive, most)]),
      ...(multiplesOf.length > 0 ? [this.#multiples(factor, digits)] : []),
    ];
    return this.#derivation.pruned(this.#expressions.intersection(parts));
  }

  /** Up to so many digits of multiples: what is left over after each digit is a state, and none from which no multiple can be reached any more. */
  #multiples(factor: number, digits: number): Expr {
    const key = `${factor},${digits}`;
    let written = this.#multiplesOf.get(key);
    if (written === undefined) this.#multiplesOf.set(key, written = this.#writeMultiples(factor, digits));
    return written;
  }

  #writeMultiples(factor: number, digits: number): Expr {
    const x = this.#expressions;
    const rules = new Map<string, Expr>();
    const after = (remainder: number, left: number): Expr => {
      if (!mayBecomeMultiple(remainder, factor, left)) return NOTHING;
      const key = `${remainder},${left}`;
      let rule = rules.get(key);
      if (rule === undefined) {
        rule = x.rule(remainder === 0, () => {
          const next = Array.from(
            { length: left === 0 ? 0 : 10 },
            (_, digit) => x.sequence([x.bytes(byteSet([0x30 + digit, 0x30 + digit])), after((remainder * 10 + digit) % factor, left - 1)]),
          );
          return remainder === 0 ? x.optional(x.union(next)) : x.union(next);
        });
        rules.set(key, rule);
      }
      return rule;
    };
    return after(0, digits);
  }
}

/** Whether up to so many digits more can make a multiple of a number that leaves a remainder. */
function mayBecomeMultiple(remainder: number, factor: number, digits: number): boolean {
  for (let i = 0, range = 1; i <= digits; i++, range *= 10) {
    if ((factor - remainder) % factor < range) return true;
    remainder = (remainder * 10) % factor;
  }
  return false;
}

/** The bound of what is left of a negative number without its sign. */
function flipped({ value, exclusive }: NumberBound): NumberBound {
  return { value: -value, exclusive };
}

/** The least whole number that fits a lower bound. */
function nextWhole({ value, exclusive }: NumberBound): NumberBound {
  return { value: exclusive ? Math.floor(value) + 1 : Math.ceil(value), exclusive: false };
}

function mostDigits(whole: boolean, min: NumberBound | null): number {
  return Math.max(whole ? MOST_INTEGER_DIGITS : MOST_DIGITS, min === null ? 0 : decimalOf(min.value).whole.length);
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

/** Whether certainly no number at all is within bounds, also none that is not written here. */
export function isEmptyRange({ integer, min, max }: NumberRules): boolean {
  if (min === null || max === null) return false;
  const [from, to] = integer ? [nextWhole(min), flipped(nextWhole(flipped(max)))] : [min, max];
  return from.value > to.value || (from.value === to.value && (from.exclusive || to.exclusive));
}

/** Whether decimal numbers of as many digits as a bound has are different doubles. */
export function isExact(value: number): boolean {
  const { whole, fraction } = decimalOf(Math.abs(value));
  return (whole === "0" ? 0 : whole.length) + fraction.length <= EXACT_DIGITS;
}

/** Digits behind the point: where a bound is exclusive, as many as leave numbers beside it different from it. */
function fractionDigits(min: NumberBound | null, max: NumberBound | null): number {
  const exclusive = [min, max].filter((bound) => bound !== null && bound.exclusive && bound.value !== 0) as NumberBound[];
  return Math.min(MOST_DIGITS, ...exclusive.map(({ value }) => Math.max(0, EXACT_DIGITS - decimalOf(value).whole.length)));
}
