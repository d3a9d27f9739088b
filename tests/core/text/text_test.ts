import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { ChatTemplate } from "../../../core/text/chat_template.ts";
import { createDetokenizer } from "../../../core/text/detokenizer.ts";
import { StopMatcher } from "../../../core/text/stop.ts";
import { readTextSource } from "../../../core/text/text_source.ts";
import { TextTokenizer, type TokenizerConfig } from "../../../core/text/tokenizer.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/fixtures.ts";
import { memoryFiles } from "../../support/safetensors.ts";
import { SEED } from "../../../bench/support/random.ts";

const tiny = new DirectoryFiles(fixtureDirectory("tiny-mla"));
const tokenizer = await TextTokenizer.load(tiny);
/** A sentencepiece-like vocabulary: spaces are ▁, and bytes outside it are <0xNN>. */
const sentencepiece = await TextTokenizer.load(memoryFiles({
  "tokenizer.json": JSON.stringify({
    version: "1.0",
    added_tokens: [{ id: 0, content: "<s>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace", pattern: { String: " " }, content: "▁" }] },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }, {
        type: "Strip",
        content: " ",
        start: 1,
        stop: 0,
      }],
    },
    model: {
      type: "BPE",
      unk_token: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(
        ["<s>", ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`), "▁", "▁the", "cat", "s"].map((
          token,
          id,
        ) => [token, id]),
      ),
      merges: [],
    },
  }),
  "tokenizer_config.json": JSON.stringify({ bos_token: "<s>" }),
}));

function stream(of: TextTokenizer, tokens: readonly number[], kept?: ReadonlySet<number>): string[] {
  const detokenizer = createDetokenizer(of, kept);
  return [...tokens.map((token) => detokenizer.push(token)), detokenizer.finish()];
}

describe("detokenizer", () => {
  it("streams any text: pieces join to it, and none ends in half a character", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => text.isWellFormed() && !text.includes("<|")), (text) => {
        const pieces = stream(tokenizer, tokenizer.encode(text, { special: false }));
        assertEquals(pieces.join(""), text);
        assertEquals(pieces.some((piece) => piece.includes("\ufffd")), text.includes("\ufffd"));
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("gives for any tokens what decoding them at once gives", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(8191), { maxLength: 30 }), (tokens) => {
        assertEquals(stream(tokenizer, tokens).join(""), tokenizer.decode(tokens, { skipSpecial: true }));
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("keeps spaces and joins byte tokens in other vocabularies too", () => {
    const tokens = [0, 258, 259, 260, 258, 257, ...[..."é🙂"].flatMap((c) => [...new TextEncoder().encode(c)].map((byte) => byte + 1)), 258];
    assertEquals(stream(sentencepiece, tokens).join(""), "thecats the é🙂 the");
    assertEquals(sentencepiece.decode(tokens, { skipSpecial: true }), stream(sentencepiece, tokens).join(""));
    assertEquals(stream(sentencepiece, tokens).some((piece) => piece.includes("\ufffd")), false);
  });

  it("gives up on bytes that never become a character", () => {
    assertEquals(stream(sentencepiece, [259, ...new Array(9).fill(0x80 + 1), 259]).join("").startsWith("cat"), true);
  });

  it("shows special tokens only when asked to", () => {
    assertEquals(stream(tokenizer, [2, 544, 1], new Set([1, 2])).join(""), "<|user|>What<|end_of_text|>");
    assertEquals(stream(tokenizer, [2, 544, 1]).join(""), "What");
  });
});

describe("TextTokenizer", () => {
  it("adds BOS where the checkpoint asks for it, once", () => {
    assertEquals(tokenizer.encode("What", { special: true }), [0, 544]);
    assertEquals(tokenizer.encode("<|begin_of_text|>What", { special: true }), [0, 544]);
    assertEquals(tokenizer.encode("What", { special: false }), [544]);
  });

  it("is refused by name where an added token is no text", async () => {
    const source = await readTextSource(tiny);
    const data = JSON.parse(source.tokenizer);
    for (const content of [{ toString: 1 }, 7]) {
      data.added_tokens[0].content = content;
      const error = assertThrows(() => TextTokenizer.of({ ...source, tokenizer: JSON.stringify(data) }), LatentmeshError);
      assertEquals(error.code, "invalid_checkpoint");
    }
  });
});

describe("StopMatcher", () => {
  it("finds the first stop string however the text is cut, and never shows part of it", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 30 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 }), { maxLength: 3 });
    fc.assert(
      fc.property(text, stops, fc.array(fc.nat(5)), fc.boolean(), (text, stops, cuts, include) => {
        const matcher = new StopMatcher(stops, include);
        let [shown, at, stopped] = ["", 0, false];
        for (const cut of [...cuts, text.length]) {
          const result = matcher.push(text.slice(at, at + cut));
          at += cut;
          shown += result.text;
          stopped = result.stopped;
          if (stopped) break;
        }
        if (!stopped) shown += matcher.finish();
        const found = stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0);
        assertEquals(stopped, found.length > 0);
        // A stop string that ends earlier can hide one that begins earlier, but what is shown is always the text before some stop string.
        const isBefore = (stop: string) => include ? shown.endsWith(stop) : text.startsWith(stop, shown.length);
        if (stopped) assertEquals(text.startsWith(shown) && stops.some(isBefore), true);
        else assertEquals(shown, text);
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });

  it("holds back only what may become a stop string", () => {
    const matcher = new StopMatcher(["END"]);
    assertEquals(matcher.push("some E"), { text: "some ", stopped: false });
    assertEquals(matcher.push("x"), { text: "Ex", stopped: false });
    assertEquals(matcher.push("EN"), { text: "", stopped: false });
    assertEquals(matcher.push("D more"), { text: "", stopped: true });
  });
});

describe("ChatTemplate", () => {
  it("renders as the checkpoint says", async () => {
    const template = ChatTemplate.of(await readTextSource(tiny), tokenizer.config);
    assertEquals(
      template!.render([{ role: "system", content: "s" }, { role: "user", content: "q" }]),
      "<|begin_of_text|><|system|>s<|user|>q<|assistant|>",
    );
  });

  const of = (template: string | null, config: TokenizerConfig = {}) => ChatTemplate.of({ name: "test", template }, config);

  it("prefers chat_template.jinja, takes the default of a list, and may be absent", () => {
    assertEquals(of("A", { chat_template: "B" })!.render([]), "A");
    assertEquals(of(null, { chat_template: [{ name: "tool", template: "T" }, { name: "default", template: "D" }] })!.render([]), "D");
    assertEquals(of(null), null);
  });

  it("turns the template's own refusal into an error about the messages", () => {
    const template = of("{{ raise_exception('no') }}");
    const error = assertThrows(() => template!.render([]), LatentmeshError, "refuses these messages");
    assertEquals(error.param, "messages");
  });
});
