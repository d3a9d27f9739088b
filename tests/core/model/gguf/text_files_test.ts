/**
 * Vocabularies in the metadata of GGUF files.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { characterOfByte } from "../../../../core/byte_alphabet.ts";
import { GgufMetadata } from "../../../../core/model/gguf/metadata.ts";
import { PRE_TOKENIZERS } from "../../../../core/model/gguf/pre_tokenizers.ts";
import { tokenizerConfigText, vocabularyText } from "../../../../core/model/gguf/text_files.ts";
import { TextTokenizer } from "../../../../core/text/tokenizer.ts";
import { ROOT } from "../../../../bench/support/root.ts";

function tokenizerOf(metadata: GgufMetadata): TextTokenizer {
  const [json, ranks] = [vocabularyText(metadata, "tokenizer.json"), vocabularyText(metadata, "tiktoken.model")];
  assert((json === null) !== (ranks === null), "one of both");
  return TextTokenizer.of({
    name: "x",
    tokenizer: json ?? ranks!,
    tokenizerFile: json === null ? "tiktoken.model" : "tokenizer.json",
    config: tokenizerConfigText(metadata),
    template: null,
  });
}

/** All bytes, and what pairs of some become. */
function bytesAnd(pre: string, merges: readonly string[]): GgufMetadata {
  const tokens = [...Array.from({ length: 256 }, (_, byte) => characterOfByte(byte)), ...merges.map((merge) => merge.replace(" ", ""))];
  return new GgufMetadata(
    "x",
    new Map<string, string | readonly string[]>([
      ["tokenizer.ggml.model", "gpt2"],
      ["tokenizer.ggml.pre", pre],
      ["tokenizer.ggml.tokens", tokens],
      ["tokenizer.ggml.merges", merges],
    ]),
  );
}

/** What texts are cut into, told by pairs that are put together. */
const PIECES: Readonly<Record<string, readonly [text: string, tokens: number][]>> = {
  "gpt-2": [["1212", 2], ["a1", 2], ["'s", 1]],
  gigachat: [["1212", 2]],
  "deepseek-llm": [["1212", 4], ["a1", 2], ["\n\n", 2]],
  "deepseek-coder": [["1212", 4], ["\n\n", 2]],
  // In threes from the left: 121 and 2.
  "deepseek-v3": [["1212", 3], ["a1", 2], ["\n\n", 1]],
  glm4: [["1212", 3], ["'s", 1], ["\n\n", 1]],
  "chatglm-bpe": [["1212", 3]],
  "llama-bpe": [["1212", 3]],
  tekken: [["1212", 4], ["\n\n", 1]],
};

describe("vocabularies in GGUF files", () => {
  it("cut texts as their name says, and lose nothing of them", () => {
    const newline = characterOfByte(10);
    assertEquals(Object.keys(PIECES).sort(), Object.keys(PRE_TOKENIZERS).sort());
    for (const [pre, pieces] of Object.entries(PIECES)) {
      const tokenizer = tokenizerOf(bytesAnd(pre, ["1 2", "a 1", "' s", `${newline} ${newline}`]));
      for (const [text, tokens] of pieces) assertEquals(tokenizer.encode(text, { special: false }).length, tokens, `${pre}: ${JSON.stringify(text)}`);
      for (const text of ["Ångström's, 12345 + 6 = ½!\r\n\n  \t東京タワー 한국어 🙂\u{10400}  ", "x", " ", "\n"]) {
        assertEquals(tokenizer.decode(tokenizer.encode(text, { special: false }), { skipSpecial: false }), text, pre);
      }
    }
  });

  it("know white space as Unicode has it: U+0085 is, U+FEFF is none", () => {
    const merges = [`! ${characterOfByte(0xc2)}`, `${characterOfByte(0xbf)} !`];
    for (const pre of ["gpt-2", "gigachat", "glm4", "deepseek-v3"]) {
      const tokenizer = tokenizerOf(bytesAnd(pre, merges));
      const lengths = ["!\u0085", "\ufeff!"].map((text) => tokenizer.encode(text, { special: false }).length);
      // Of deepseek-v3, U+FEFF goes with no marks.
      assertEquals(lengths, pre === "deepseek-v3" ? [3, 4] : [3, 3], pre);
    }
  });

  it("of Moonshot's kind are those of the tiktoken.model that they were made of", async () => {
    const directory = `${ROOT}/tests/golden/moonshot-tokenizer`;
    const ranks = await Deno.readTextFile(`${directory}/tiktoken.model`);
    const config = JSON.parse(await Deno.readTextFile(`${directory}/tokenizer_config.json`));
    const tokens = ranks.trim().split("\n").map((line) =>
      Array.from(atob(line.split(" ")[0]), (byte) => characterOfByte(byte.charCodeAt(0))).join("")
    );
    const named: [string, { content: string; special?: boolean }][] = Object.entries(config.added_tokens_decoder);
    const kinds = tokens.map(() => 1);
    for (const [id, { content, special }] of named) {
      while (tokens.length <= Number(id)) tokens.push(`[PAD${kinds.push(5) - 1}]`);
      tokens[Number(id)] = content;
      kinds[Number(id)] = special ? 3 : 4;
    }
    const tokenizer = tokenizerOf(
      new GgufMetadata(
        "x",
        new Map<string, string | readonly string[] | readonly number[]>([
          ["tokenizer.ggml.model", "gpt2"],
          ["tokenizer.ggml.pre", "kimi-k2"],
          ["tokenizer.ggml.tokens", tokens],
          ["tokenizer.ggml.token_type", kinds],
        ]),
      ),
    );
    const { short } = JSON.parse(await Deno.readTextFile(`${directory}/golden.json`));
    for (const { text, ids } of short) assertEquals(tokenizer.encode(text, { special: false }), ids, JSON.stringify(text));
  });
});
