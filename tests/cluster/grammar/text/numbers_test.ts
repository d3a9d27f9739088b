/**
 * Numbers: within their bounds as digits and as doubles.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Automaton } from "../../../../cluster/grammar/automaton/automaton.ts";
import { Derivation, inTurns } from "../../../../cluster/grammar/automaton/derivation.ts";
import { Expressions } from "../../../../cluster/grammar/automaton/expressions.ts";
import { decimalOf } from "../../../../cluster/grammar/text/decimals.ts";
import { isExact, type NumberRules, Numbers } from "../../../../cluster/grammar/text/numbers.ts";
import { finish } from "../../../support/grammar_driver.ts";
import { SEED } from "../../../../bench/support/random.ts";

const value = fc.oneof(
  fc.integer({ min: -1200, max: 1200 }),
  fc.integer({ min: -99999, max: 99999 }).map((n) => n / 1000),
  fc.constantFrom(0, 1, -1, 0.5, 1e15, -1e15, 1e21, 1e-7, 2.5e-8, 123456789.125, 0.1, 0.3),
);
const bound = fc.option(fc.record({ value, exclusive: fc.boolean() }).filter(({ value, exclusive }) => !exclusive || isExact(value)), { freq: 3 });
const rules: fc.Arbitrary<NumberRules> = fc.record({
  integer: fc.boolean(),
  min: bound,
  max: bound,
  multiplesOf: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 2 })),
});

function fits(number: number, { integer, min, max, multiplesOf }: NumberRules): boolean {
  return (!integer || Number.isInteger(number)) && multiplesOf.every((factor) => Number.isInteger(number / factor)) &&
    (min === null || (min.exclusive ? number > min.value : number >= min.value)) &&
    (max === null || (max.exclusive ? number < max.value : number <= max.value));
}

describe("numbers", () => {
  it("that come out fit, and those that fit can come out", () => {
    fc.assert(
      fc.property(rules, fc.array(value, { minLength: 20, maxLength: 20 }), (rules, values) => {
        const expressions = new Expressions();
        const automaton = new Automaton(expressions);
        const numbers = new Numbers(expressions, new Derivation(expressions));
        const start = finish(inTurns(() => automaton.stateOf(numbers.of(rules))));
        const accepts = (text: string) => automaton.accepts(finish(inTurns(() => automaton.run(start, new TextEncoder().encode(text)))));
        const near = [rules.min, rules.max].flatMap((bound) => bound === null ? [] : [-1, -1e-3, 0, 1e-3, 1].map((step) => bound.value + step));
        for (const number of [...values, ...near]) {
          const text = String(number);
          // Only numbers without any bounds are written with exponents, and only so many digits.
          if (/e/.test(text) || text.replace(/\D/g, "").length > 15) continue;
          assertEquals(accepts(text), fits(number, rules), `${text} for ${JSON.stringify(rules)}`);
        }
        for (const wrong of ["", "-", "01", "1.", ".5", "+1", "-0", "00", "1e5"]) {
          const plain = rules.min === null && rules.max === null && rules.multiplesOf.length === 0 && !rules.integer;
          if (!plain) assert(!accepts(wrong), wrong);
        }
      }),
      { seed: SEED, numRuns: 400 },
    );
  });

  it("beside an exclusive bound are not rounded to it", () => {
    const expressions = new Expressions();
    const automaton = new Automaton(expressions);
    const below = { integer: false, min: null, max: { value: 0.3, exclusive: true }, multiplesOf: [] };
    const start = automaton.stateOf(new Numbers(expressions, new Derivation(expressions)).of(below));
    const accepts = (text: string) => automaton.accepts(automaton.run(start, new TextEncoder().encode(text)));
    assertEquals([accepts("0.29999999999999"), accepts("0.29999999999999999999")], [true, false]);
  });

  it("are taken apart into digits", () => {
    const written = (value: number) => `${decimalOf(value).whole}.${decimalOf(value).fraction}`;
    assertEquals([0, 7, 120, 0.5, 1e-7, 2.5e-8, 1e21, 1.5e22, 12.25].map(written), [
      ...["0.", "7.", "120.", "0.5", "0.0000001", "0.000000025", "1000000000000000000000.", "15000000000000000000000.", "12.25"],
    ]);
  });
});
