import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { GrammarCache } from "../../../cluster/grammar/grammar_cache.ts";
import { CompiledGrammar } from "../../../cluster/grammar/compiled_grammar.ts";
import { compile, finish, smallTables } from "../../support/grammar_driver.ts";

describe("the cache of grammars", () => {
  it("keeps the ones used last, as far as they fit", () => {
    const tables = smallTables();
    const [a, b, c] = ["a", "b", "c"].map((value) => compile({ kind: "json", schema: { const: value }, strict: false }, tables));
    const cache = new GrammarCache(a.bytes + b.bytes);
    cache.set("a", a);
    cache.set("b", b);
    assertEquals(cache.get("a"), a);
    cache.set("c", c);
    assertEquals([cache.get("a"), cache.get("b"), cache.get("c")].map((grammar) => grammar !== undefined), [true, false, true]);
    // Their texts count, and what is read of them.
    const described = finish(CompiledGrammar.compile({ kind: "json", schema: { const: "d" }, strict: false }, tables, 1 << 19));
    assert(described.bytes > a.bytes + (1 << 20), `${described.bytes} bytes`);
    // Grammars grow as they are used.
    for (let state = a.start, i = 0; i < 3; i++) state = a.automaton.step(state, `"a"`.charCodeAt(i));
    cache.trim();
    assert(cache.get("a") === undefined, "the one used longest ago goes");
  });
});
