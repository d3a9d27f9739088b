/**
 * Expressions: what fits them, and whether anything does.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Automaton } from "../../../../cluster/grammar/automaton/automaton.ts";
import { byteSet } from "../../../../cluster/grammar/automaton/byte_sets.ts";
import { Derivation, inTurns } from "../../../../cluster/grammar/automaton/derivation.ts";
import { ANYTHING, EMPTY, type Expr, Expressions, NOTHING, TooComplex } from "../../../../cluster/grammar/automaton/expressions.ts";
import { finish } from "../../../support/grammar_driver.ts";
import { SEED } from "../../../../bench/support/random.ts";

/** An expression over "ab", and the same decided by a regular expression. */
interface Tree {
  write(x: Expressions): Expr;
  fits(text: string): boolean;
}

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom("a", "b", "ab", "").map((text): Tree => ({ write: (x) => x.literal(text), fits: (other) => other === text })),
    fc.constant<Tree>({ write: (x) => x.bytes(byteSet([0x61, 0x62])), fits: (text) => /^[ab]$/.test(text) }),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Tree => ({
      write: (x) => x.sequence([a.write(x), b.write(x)]),
      fits: (text) => Array.from({ length: text.length + 1 }, (_, i) => i).some((i) => a.fits(text.slice(0, i)) && b.fits(text.slice(i))),
    })),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Tree => ({
      write: (x) => x.union([a.write(x), b.write(x)]),
      fits: (text) => a.fits(text) || b.fits(text),
    })),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Tree => ({
      write: (x) => x.intersection([a.write(x), b.write(x)]),
      fits: (text) => a.fits(text) && b.fits(text),
    })),
    tie("tree").map((a): Tree => ({ write: (x) => x.complement(a.write(x)), fits: (text) => !a.fits(text) })),
    fc.tuple(tie("tree"), fc.nat(2), fc.nat(2)).map(([a, min, more]): Tree => ({
      write: (x) => x.repeat(a.write(x), min, min + more),
      fits: (text) => repeats(a, text, min, min + more),
    })),
  ),
}));

function repeats(a: Tree, text: string, min: number, max: number): boolean {
  if (text === "" && (min === 0 || a.fits(""))) return true;
  if (max === 0) return false;
  return Array.from({ length: text.length }, (_, i) => i + 1).some((i) =>
    a.fits(text.slice(0, i)) && repeats(a, text.slice(i), Math.max(0, min - 1), max - 1)
  ) || (min > 0 && a.fits("") && repeats(a, text, min - 1, max - 1));
}

const TEXTS = Array.from({ length: 31 }, (_, i) => (i + 1).toString(2).slice(1).replaceAll("0", "a").replaceAll("1", "b"));

describe("expressions", () => {
  it("fit what they say, byte by byte, and no state is left from which nothing fits", () => {
    fc.assert(
      fc.property(tree, (tree) => {
        const expressions = new Expressions();
        const derivation = new Derivation(expressions);
        const automaton = new Automaton(expressions, derivation);
        const start = automaton.stateOf(finish(inTurns(() => derivation.pruned(tree.write(expressions)))));
        for (const text of TEXTS) {
          const state = automaton.run(start, new TextEncoder().encode(text));
          assertEquals(automaton.accepts(state), tree.fits(text), text);
        }
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("are simplest where that is plain to see, and the same if they are equal", () => {
    const x = new Expressions();
    const [a, b] = [x.literal("a"), x.literal("b")];
    assertEquals(x.union([a, b]), x.union([b, NOTHING, a, b]));
    assertEquals([x.sequence([a, NOTHING]), x.intersection([a, NOTHING]), x.intersection([a, b])], [NOTHING, NOTHING, NOTHING]);
    assertEquals([x.union([a, ANYTHING]), x.intersection([a, ANYTHING]), x.sequence([EMPTY, a])], [ANYTHING, a, a]);
    assertEquals(x.sequence([x.sequence([a, b]), a]), x.sequence([a, x.sequence([b, a])]));
    assertEquals([x.repeat(a, 1, 1), x.repeat(a, 0, 0), x.complement(x.complement(a))], [a, EMPTY, a]);
  });

  it("may be rules that refer to themselves", () => {
    const x = new Expressions();
    const nested: Expr = x.rule(true, () => x.optional(x.sequence([x.literal("("), nested, x.literal(")")])));
    const automaton = new Automaton(x);
    const fits = (text: string) => automaton.accepts(automaton.run(automaton.stateOf(nested), new TextEncoder().encode(text)));
    assertEquals(["", "()", "((()))", "(()", ")("].map(fits), [true, true, true, false, false]);
  });

  it("say whether anything fits them at all, or that it takes too long to find out", () => {
    const x = new Expressions();
    const derivation = new Derivation(x);
    const any = x.bytes(byteSet([0, 255]));
    const times = (n: number) => x.repeat(x.repeat(any, n, n), 0, Infinity);
    const one = x.sequence([x.repeat(any, 1, 1), times(6)]);
    const alive = (e: Expr) => finish(inTurns(() => derivation.alive(e)));
    assert(!alive(x.intersection([times(4), one])), "no multiple of 4 is one more than one of 6");
    assert(alive(x.intersection([times(5), one])), "25 is a multiple of 5 and one more than 24");
    assert(alive(x.intersection([times(97), x.sequence([any, times(89)])])), "in several turns");
    const far = x.intersection([times(9973), x.sequence([any, times(9967)]), x.sequence([any, any, times(9949)])]);
    assertThrows(() => alive(far), TooComplex, "takes too long");
  });
});
