/**
 * Patterns: what fits them is what JavaScript's own regular expressions find, in every form in which JSON can write it.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Derivation } from "../../../../cluster/grammar/automaton/derivation.ts";
import { Expressions } from "../../../../cluster/grammar/automaton/expressions.ts";
import { UnsupportedPattern } from "../../../../cluster/grammar/patterns/pattern_tree.ts";
import { Writers } from "../../../../cluster/grammar/schema/writers.ts";
import { SEED } from "../../../../bench/support/random.ts";
import { PATTERNS } from "../../../support/schemas.ts";

function writers(): Writers {
  const expressions = new Expressions();
  return new Writers(expressions, new Derivation(expressions));
}

const MORE = [
  "",
  "x*",
  "^(a|b|)c?$",
  "(?:^a|b)c",
  "a{2}|b{3,}",
  "[^\\d\\s]",
  "[\\]\\-a]",
  "\\x41\\u0042\\cJ|\\t",
  "(?=ab)a.",
  "^(?!.*aa)[ab]*$",
  "\\/a\\.",
  "(?<first>a)b",
  "\\uD83D\\uDE00",
];

describe("patterns", () => {
  for (const pattern of [...PATTERNS, ...MORE]) {
    it(`are found where regular expressions are: ${JSON.stringify(pattern)}`, () => {
      const writing = writers();
      const expression = new RegExp(pattern, "u");
      // Texts that are made of what the pattern is made of are more likely to be near.
      const unit = fc.oneof(
        fc.constantFrom(...pattern, "a", "b", "c", "x", "1", "9", "\n", "é", "ß", "Ä", "日", "😀", " ", '"', "\\"),
        fc.string({ unit: "binary", maxLength: 1 }),
      );
      fc.assert(
        fc.property(fc.string({ unit, maxLength: 7 }), (text) => {
          assertEquals(writing.fits(writing.patterns.containing(pattern), text), expression.test(text), JSON.stringify(text));
        }),
        { seed: SEED, numRuns: 300 },
      );
    });
  }

  it("are refused where an automaton cannot decide them", () => {
    const refused = [
      "(a)\\1",
      "(?<=a)b",
      "\\bword\\b",
      "(",
      "[b-a]",
      "(?i:a)",
      "a**",
      "\\p{Nonsense}",
      "(?:a$)*b",
      `${"(".repeat(200)}${")".repeat(200)}`,
    ];
    for (const pattern of refused) assertThrows(() => writers().patterns.containing(pattern), UnsupportedPattern);
  });

  it("fit characters as they are and as escapes, but not what JSON does not allow", () => {
    const { patterns, expressions, derivation } = writers();
    const accepts = (content: string) => {
      let e = patterns.containing('^[é\\n"😀-]{2}$');
      for (const byte of new TextEncoder().encode(content)) e = derivation.derivative(e, byte);
      return expressions.nullable(e);
    };
    assertEquals([`é-`, `\\u00e9-`, `\\u00E9\\n`, `\\u000a\\"`, `\\ud83d\\uDE00-`, `😀é`].map(accepts), Array(6).fill(true));
    assertEquals([`é`, `\n-`, `"-`, `\\ud83d-`, `\\u002d-`, `\\-é`].map(accepts), Array(6).fill(false));
  });
});
