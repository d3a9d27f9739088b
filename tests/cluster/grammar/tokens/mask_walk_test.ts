/**
 * Masks: a token is allowed exactly where its bytes fit.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { DEAD } from "../../../../cluster/grammar/automaton/automaton.ts";
import { MOST_PLAIN, plainLength } from "../../../../cluster/grammar/tokens/plain_tokens.ts";
import { tokenTables } from "../../../../cluster/grammar/tokens/token_tables.ts";
import { buildTrie } from "../../../../cluster/grammar/tokens/token_trie.ts";
import { tokenBytes } from "../../../../cluster/grammar/tokens/vocabulary.ts";
import { allows, compile, finish, randomText, vocabularyOf } from "../../../support/grammar_driver.ts";
import { Random, SEED } from "../../../../bench/support/random.ts";

const text = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'ab"\\{}[]:, 1-\n', "é", "日", "😀"), maxLength: 8 }),
  fc.nat(30).map((length) => "x".repeat(length)),
).map((text) => new TextEncoder().encode(text));
const token = fc.oneof({ weight: 3, arbitrary: text }, fc.uint8Array({ maxLength: 4 }).map((bytes) => Uint8Array.from(bytes)));
const vocabulary = fc.array(token, { minLength: 1, maxLength: 120 }).map((texts) =>
  vocabularyOf([new Uint8Array(), ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...texts])
);

describe("masks", () => {
  it("allow exactly the tokens that fit, whatever the vocabulary", () => {
    const schemas = [
      { type: "object" },
      { type: "string" },
      { type: "string", maxLength: 5 },
      { type: "string", minLength: 2, maxLength: MOST_PLAIN + 3 },
      { type: "string", pattern: "^[ab]*[^1]{0,3}$" },
      { type: "array", items: { enum: ["x", "xxx", 1, -11, { a: "b" }] } },
    ];
    const random = new Random();
    fc.assert(
      fc.property(vocabulary, fc.constantFrom(...schemas), (vocabulary, schema) => {
        const tables = tokenTables(vocabulary);
        const grammar = compile({ kind: "json", schema, strict: false }, tables);
        let state = grammar.start;
        const written = new TextEncoder().encode(randomText(grammar, tables, random, 12));
        for (const byte of written.subarray(0, 40)) {
          const mask = finish(grammar.mask(state));
          for (let token = 0; token < vocabulary.offsets.length - 1; token++) {
            const bytes = tokenBytes(vocabulary, token);
            const fits = token === 0 ? grammar.automaton.accepts(state) : bytes.length > 0 && grammar.automaton.run(state, bytes) !== DEAD;
            assertEquals(allows(mask, token), fits, `token ${token}, ${JSON.stringify(new TextDecoder().decode(bytes))}`);
          }
          state = grammar.automaton.step(state, byte);
        }
      }),
      { seed: SEED, numRuns: 60 },
    );
  });

  it("are found in a tree that holds every token once", () => {
    fc.assert(
      fc.property(vocabulary, (vocabulary) => {
        const { bytes, depths, ends, tokens } = buildTrie(vocabulary, vocabulary.offsets.subarray(1).keys());
        const found = new Map<number, string>();
        const path: number[] = [];
        bytes.forEach((byte, node) => {
          path.length = depths[node];
          path.push(byte);
          if (tokens[node] >= 0) found.set(tokens[node], path.join());
          const below = depths.subarray(node + 1).findIndex((depth) => depth <= depths[node]);
          assertEquals(ends[node], below < 0 ? bytes.length : node + 1 + below);
        });
        const all = Array.from(vocabulary.offsets.subarray(1).keys(), (token) => [token, tokenBytes(vocabulary, token).join()] as const);
        assertEquals(Object.fromEntries(found), Object.fromEntries(all.filter(([, text]) => text !== "")));
      }),
      { seed: SEED, numRuns: 50 },
    );
  });

  it("know plain tokens by their whole characters", () => {
    const texts = ["ab", "é日😀", 'a"', "\\", "\n", " x", "\x7f"].map((text) => new TextEncoder().encode(text));
    const parts = [[0xc3], [0x41, 0xe6, 0x97], [0x80], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf4, 0x90, 0x80, 0x80]].map((bytes) =>
      Uint8Array.from(bytes)
    );
    const vocabulary = vocabularyOf([...texts, ...parts, new Uint8Array(MOST_PLAIN + 1).fill(0x61)]);
    assertEquals([...texts, ...parts, null].map((_, token) => plainLength(vocabulary, token)), [2, 3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0]);
  });
});
