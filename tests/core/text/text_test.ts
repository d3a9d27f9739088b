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
import { fixtureDirectory } from "../../support/checkpoints.ts";
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
  /** What is shown of a text, and by which stop string it is ended: found by looking at every place where one may end. */
  const shownOf = (text: string, stops: readonly string[], include: boolean) => {
    for (let end = 1; end <= text.length; end++) {
      const [stop] = stops.filter((stop) => text.slice(0, end).endsWith(stop)).toSorted((a, b) => b.length - a.length);
      if (stop !== undefined) return { shown: text.slice(0, include ? end : end - stop.length), stop };
    }
    return { shown: text, stop: null };
  };

  it("finds the stop string that is complete first, the longest of several, however the text is cut", () => {
    const letter = fc.constantFrom("a", "b", "c", "\u{1f600}", "\0");
    const stop = fc.oneof(
      fc.string({ unit: letter, minLength: 1, maxLength: 5 }),
      // What repeats makes the most of beginnings that are ends, too.
      fc.tuple(fc.string({ unit: letter, minLength: 1, maxLength: 2 }), fc.nat(6), fc.string({ unit: letter, maxLength: 1 }))
        .map(([part, times, end]) => part.repeat(times + 1) + end),
    );
    const text = fc.array(fc.oneof(fc.string({ unit: letter, maxLength: 6 }), stop), { maxLength: 6 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, fc.array(stop, { maxLength: 4 }), fc.array(fc.nat(5)), fc.boolean(), (text, stops, cuts, include) => {
        const matcher = new StopMatcher(stops, include);
        let [shown, at, stopped] = ["", 0, false];
        for (const cut of [...cuts, text.length]) {
          const piece = text.slice(at, at + cut);
          const result = matcher.push(piece);
          at += cut;
          shown += result.text;
          stopped = result.stopped;
          if (stopped) break;
          // Nothing is held back that cannot become a stop string.
          const held = text.slice(shown.length, at);
          assertEquals(held === "" || stops.some((stop) => stop.startsWith(held)), true);
        }
        const rest = stopped ? matcher.rest() : "";
        if (!stopped) shown += matcher.finish();
        const expected = shownOf(text, stops, include);
        assertEquals([shown, stopped, matcher.found], [expected.shown, expected.stop !== null, expected.stop]);
        if (stopped) assertEquals(text.startsWith(rest, shown.length), true);
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });

  it("takes a prompt's worth of text that all but stops it, over and over", () => {
    const stops = Array.from({ length: 64 }, (_, i) => `${"a".repeat(1023 - i)}b`);
    const matcher = new StopMatcher(stops);
    let length = 0;
    for (let i = 0; i < 200; i++) length += matcher.push("a".repeat(500) + "c").text.length;
    assertEquals([length, matcher.found], [200 * 501, null]);
    assertEquals(matcher.push(`${"a".repeat(2000)}b`), { text: "a".repeat(977), stopped: true });
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

  it("gives templates None for tools where there are none, as transformers does", () => {
    const template = of("{{ tools is not none }}{{ tools is defined }}{{ documents is none }}{% if tools %}{{ tools | length }}{% endif %}")!;
    assertEquals(template.render([{ role: "user", content: "Hi" }]), "FalseTrueTrue");
    assertEquals(template.render([{ role: "user", content: "Hi" }], { tools: [{}, {}], variables: { documents: [] } }), "TrueTrueFalse2");
  });
});
