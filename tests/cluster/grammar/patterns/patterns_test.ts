/**
 * Patterns: what fits them is what JavaScript's own regular expressions find, in every form in which JSON can write it.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
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

function writersOf() {
  const writing = writers();
  return { patterns: writing.patterns, fits: (content: number, text: string) => writing.fits(content, text) };
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

/** None with the flag `u`: read without it. */
const OF_UNITS = [
  "^.{1,3}\\-x?$",
  "^[^\\w-.]{2}$",
  "^[^a]\\_?$",
  "\\-|\\@",
  "^\\D\\-?\\S$",
  "^(?!.*\\-\\-)[a-c\\-]*$",
  "^😀*\\-?$",
  "^[😀a]\\-?",
  "^[a-😀]\\-?$",
  "\\ud83d\\ude00?\\-?a",
  "^[^\\ud800-\\udfff]\\-?$",
  "^\\x4|\\u12|x{|]|}$",
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

  for (const pattern of OF_UNITS) {
    it(`are found by units of UTF-16 where they are none with the flag "u": ${JSON.stringify(pattern)}`, () => {
      assertThrows(() => new RegExp(pattern, "u"), SyntaxError);
      const { fits, patterns } = writersOf();
      const expression = new RegExp(pattern);
      const unit = fc.oneof(fc.constantFrom(...pattern, "a", "b", "-", "_", "x", "4", "é", "日", "😀"), fc.string({ unit: "binary", maxLength: 1 }));
      fc.assert(
        fc.property(fc.string({ unit, maxLength: 5 }), (text) => {
          const [found, lacking] = [fits(patterns.containing(pattern), text), fits(patterns.lacking(pattern), text)];
          if (found || lacking) assertEquals([found, lacking], [expression.test(text), !expression.test(text)], JSON.stringify(text));
          // What is beyond 16 bits is two characters to it: of such texts nothing is said.
          else assert(/[\u{10000}-\u{10ffff}]/u.test(text), JSON.stringify(text));
        }),
        { seed: SEED, numRuns: 300 },
      );
    });
  }

  it("are refused where they mean something else without the flag", () => {
    const meanings = {
      "^\\p{L}\\-$": "\\p{",
      "\\P{L}\\_": "\\P{",
      "^\\u{2}\\-$": "\\u{",
      "^\\01\\-$": "\\01",
      "[\\07]": "\\07",
      "\\-\\2": "\\2",
      "\\c1": "\\c",
    };
    for (const [pattern, part] of Object.entries(meanings)) {
      assertThrows(() => writers().patterns.containing(pattern), UnsupportedPattern, `"${part}"`);
    }
  });

  it("know ranges of surrogates, of which no text holds one", () => {
    const { fits, patterns } = writersOf();
    for (const [pattern, ok, not] of [["^[\\ud800-\\udfff]$", [], ["-", "a", "😀"]], ["^[^\\ud800-\\udfff]+$", ["-", "a", "😀"], [""]]] as const) {
      assertEquals([...ok, ...not].filter((text) => fits(patterns.containing(pattern), text)), [...ok]);
    }
  });

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
