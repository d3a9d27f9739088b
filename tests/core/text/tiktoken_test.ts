/**
 * Vocabularies in a `tiktoken.model` against tiktoken itself, which made `tests/golden/moonshot-tokenizer/golden.json`: with a vocabulary of 1,564 tokens, some of
 * which no merges lead to, and Moonshot's expression for pieces of texts.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { createDetokenizer } from "../../../core/text/detokenizer.ts";
import { readTextSource } from "../../../core/text/text_source.ts";
import { TextTokenizer } from "../../../core/text/tokenizer.ts";
import { bytePairs } from "../../../core/text/vocabularies/byte_pairs.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { SEED } from "../../../bench/support/random.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { memoryFiles } from "../../support/safetensors.ts";

interface Golden {
  readonly short: readonly { readonly text: string; readonly ids: readonly number[] }[];
  /** Texts of repeated parts, and a digest of their tokens. */
  readonly long: readonly { readonly parts: readonly [part: string, times: number][]; readonly count: number; readonly digest: number }[];
}

const directory = `${ROOT}/tests/golden/moonshot-tokenizer`;
const golden: Golden = JSON.parse(await Deno.readTextFile(`${directory}/golden.json`));
const model = await Deno.readTextFile(`${directory}/tiktoken.model`);
const config = JSON.parse(await Deno.readTextFile(`${directory}/tokenizer_config.json`));
const BASE = 1564;

const of = (text: string, change: object = {}) =>
  TextTokenizer.of({ name: "x", tokenizer: text, tokenizerFile: "tiktoken.model", config: JSON.stringify({ ...config, ...change }), template: null });
const tokenizer = of(model);
const encode = (text: string) => tokenizer.encode(text, { special: true });

describe("a tiktoken.model", () => {
  it("encodes as tiktoken does, and decodes what it encoded", () => {
    for (const { text, ids } of golden.short) {
      assertEquals(encode(text), [...ids], JSON.stringify(text));
      assertEquals(tokenizer.decode(ids, { skipSpecial: false }), text);
      const detokenizer = createDetokenizer(tokenizer, new Set(ids));
      assertEquals(ids.map((id) => detokenizer.push(id)).join("") + detokenizer.finish(), text);
    }
  });

  it("cuts long texts and long runs where Moonshot's tokenizers do", () => {
    for (const { parts, count, digest } of golden.long) {
      const ids = encode(parts.map(([part, times]) => part.repeat(times)).join(""));
      assertEquals([ids.length, ids.reduce((sum, id) => (sum * 31 + id) % 2147483647, 7)], [count, digest], JSON.stringify(parts));
    }
  });

  it("knows its named tokens, the bytes of all, and how many tokens a text has at least", () => {
    assertEquals([tokenizer.bosToken, tokenizer.eosToken, tokenizer.tokenOf("<|im_end|>"), tokenizer.tokenOf("no such token")], [
      BASE,
      BASE + 1,
      BASE + 2,
      null,
    ]);
    assertEquals([BASE + 2, BASE + 22, BASE + 200, 300].map((token) => tokenizer.isSpecial(token)), [true, false, true, false]);
    assertEquals(tokenizer.decode(encode("<|im_user|>Hi<think>"), { skipSpecial: true }), "Hi<think>");
    assertEquals(tokenizer.bytesOf(BASE + 200), new TextEncoder().encode(`<|reserved_token_${BASE + 200}|>`));
    assertEquals(tokenizer.bytesOf(BASE + 256), new Uint8Array());
    model.trim().split("\n").forEach((line, rank) => {
      assertEquals(tokenizer.bytesOf(rank), Uint8Array.from(atob(line.split(" ")[0]), (character) => character.charCodeAt(0)));
    });
    for (const { text, ids } of golden.short) assertEquals(tokenizer.leastTokens(text) <= ids.length, true);
    assertEquals(tokenizer.leastTokens("x".repeat(10_000)) > 100, true);
  });

  it("is read where there is no tokenizer.json, and not where there is one", async () => {
    using files = new DirectoryFiles(directory);
    assertEquals((await TextTokenizer.load(files)).encode("Hello", { special: true }), encode("Hello"));
    const both = { "tiktoken.model": model, "tokenizer.json": "{}", "tokenizer_config.json": JSON.stringify(config) };
    assertEquals((await readTextSource(memoryFiles(both))).tokenizerFile, "tokenizer.json");
    await assertRejects(() => readTextSource(memoryFiles({})), LatentmeshError, "no tokenizer.json, nor a tiktoken.model");
  });

  const lines = model.trim().split("\n");
  const swap = (at: number, line: string) => lines.with(at, line).join("\n");
  const broken: [name: string, model: string, change: object, says: string][] = [
    ["of a family whose pieces are not known", model, { tokenizer_class: "QWenTokenizer" }, `tokenizer_class is "QWenTokenizer"`],
    ["of no family", model, { tokenizer_class: null }, "tokenizer_class"],
    ["with a rank left out", swap(700, ""), {}, "line 701 of tiktoken.model does not end with the rank 700"],
    ["with more on a line", swap(700, `${lines[700]} 1`), {}, "line 701"],
    ["with a line that is not base64", swap(700, "%% 700"), {}, "line 701 of tiktoken.model is not base64"],
    ["with a token twice", swap(700, `${lines[699].split(" ")[0]} 700`), {}, "has a token twice"],
    ["without a byte", swap(5, "YWJhYmFiYWJhYg== 5"), {}, "has no token for the byte 38"],
    ["that is empty", "", {}, "has no token for the byte 0"],
    ["with a name for what has one", model, { added_tokens_decoder: { 7: { content: "seven" } } }, "names 7"],
    ["with a name for two", model, { added_tokens_decoder: { [BASE]: { content: "a" }, [BASE + 1]: { content: "a" } } }, "the same text"],
    ["with a name that is none", model, { added_tokens_decoder: { [BASE]: { content: "" } } }, "content"],
  ];
  for (const [name, text, change, says] of broken) {
    it(`is refused by name: one ${name}`, () => {
      assertEquals(assertThrows(() => of(text, change), LatentmeshError, says).code, "invalid_checkpoint");
    });
  }
});

/** By definition: look at all pairs, take the first of the lowest rank, begin again. */
function slowBytePairs(piece: string, ranks: ReadonlyMap<string, number>): number[] {
  if (ranks.has(piece)) return [ranks.get(piece)!];
  const parts = [...piece];
  for (;;) {
    const pairs = parts.slice(1).map((part, i) => ranks.get(parts[i] + part) ?? Infinity);
    const least = Math.min(...pairs);
    if (least === Infinity) return parts.map((part) => ranks.get(part)!);
    const at = pairs.indexOf(least);
    parts.splice(at, 2, parts[at] + parts[at + 1]);
  }
}

describe("bytePairs", () => {
  it("merges what the definition merges, whatever the ranks", () => {
    const word = (most: number) => fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: most });
    fc.assert(
      fc.property(fc.uniqueArray(word(6), { maxLength: 30 }), word(60), (tokens, piece) => {
        const ranks = new Map([...new Set([...tokens, "a", "b", "c"])].map((token, rank) => [token, rank]));
        assertEquals(bytePairs(piece, ranks), slowBytePairs(piece, ranks));
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });

  it("takes a piece of a megabyte in its stride", () => {
    const ranks = new Map(["a", "b", "ab", "aba", "abab"].map((token, rank) => [token, rank]));
    assertEquals(bytePairs("ab".repeat(500_000), ranks).length, 250_000);
  });
});
