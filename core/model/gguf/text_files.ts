/**
 * The texts beside the weights that the metadata of a file stands for: vocabulary, chat template, and how a model likes to be sampled.
 *
 * @module
 */
import { BYTE_OF_CHARACTER } from "../../byte_alphabet.ts";
import type { GgufMetadata } from "./metadata.ts";
import { PRE_TOKENIZERS, preTokenizerJson } from "./pre_tokenizers.ts";

/** Numbers of kinds of tokens: text, what only templates hold, what somebody has named, and ids that nothing has. */
const KINDS = { normal: 1, control: 3, named: 4, unused: 5, byte: 6 } as const;

/** Moonlight's and Kimi-K2's, which are published with tiktoken's ranks. */
const MOONSHOT = "kimi-k2";

/** `tokenizer.json` of a file, or `tiktoken.model`: the other is null. @throws {LatentmeshError} `invalid_config` that names a key */
export function vocabularyText(metadata: GgufMetadata, file: "tokenizer.json" | "tiktoken.model"): string | null {
  const ours = metadata.string("tokenizer.huggingface.json");
  if (ours !== undefined) return file === "tokenizer.json" ? ours : null;
  const { pre, tokens } = vocabularyOf(metadata);
  if (pre === MOONSHOT) return file === "tiktoken.model" ? ranksText(metadata, tokens) : null;
  return file === "tokenizer.json" ? tokenizerText(metadata, pre, tokens) : null;
}

/** One token. */
interface Token {
  readonly id: number;
  readonly text: string;
  readonly kind: number;
}

function vocabularyOf(metadata: GgufMetadata): { readonly pre: string; readonly tokens: readonly Token[] } {
  const model = metadata.string("tokenizer.ggml.model") ?? metadata.refuse("tokenizer.ggml.model", "is missing");
  if (model !== "gpt2") metadata.refuse("tokenizer.ggml.model", `is "${model.slice(0, 64)}"; only "gpt2" (byte-pair encoding) is supported`);
  const pre = metadata.string("tokenizer.ggml.pre") ??
    metadata.refuse("tokenizer.ggml.pre", "is missing; convert the model anew with a later llama.cpp");
  if (pre !== MOONSHOT && !Object.hasOwn(PRE_TOKENIZERS, pre)) {
    metadata.refuse("tokenizer.ggml.pre", `is "${pre.slice(0, 64)}"; supported are ${[...Object.keys(PRE_TOKENIZERS), MOONSHOT].join(", ")}`);
  }
  const texts = metadata.strings("tokenizer.ggml.tokens") ?? metadata.refuse("tokenizer.ggml.tokens", "is missing");
  const kinds = metadata.numbers("tokenizer.ggml.token_type");
  if (kinds !== undefined && kinds.length !== texts.length) {
    metadata.refuse("tokenizer.ggml.token_type", `has ${kinds.length} elements for ${texts.length} tokens`);
  }
  return { pre, tokens: texts.map((text, id) => ({ id, text, kind: kinds?.[id] ?? KINDS.normal })) };
}

function isNamed({ kind }: Token): boolean {
  return kind === KINDS.control || kind === KINDS.named;
}

function tokenizerText(metadata: GgufMetadata, pre: string, tokens: readonly Token[]): string {
  const merges = metadata.strings("tokenizer.ggml.merges") ?? metadata.refuse("tokenizer.ggml.merges", "is missing");
  const { pre_tokenizer, ignore_merges } = preTokenizerJson(pre);
  const added = (token: Token) => ({
    id: token.id,
    content: token.text,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: token.kind === KINDS.control,
  });
  return JSON.stringify({
    version: "1.0",
    added_tokens: tokens.filter(isNamed).map(added),
    normalizer: null,
    pre_tokenizer,
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      unk_token: null,
      ignore_merges,
      vocab: Object.fromEntries(tokens.filter(({ kind }) => kind !== KINDS.unused && kind !== KINDS.byte).map(({ text, id }) => [text, id])),
      merges,
    },
  });
}

/** Ranks are ids, from 0 to where named tokens begin. */
function ranksText(metadata: GgufMetadata, tokens: readonly Token[]): string {
  const end = tokens.findIndex(({ kind }) => kind !== KINDS.normal);
  return tokens.slice(0, end < 0 ? undefined : end).map(({ text, id }) => {
    let bytes = "";
    for (const character of text) {
      const byte = BYTE_OF_CHARACTER.get(character) ?? metadata.refuse("tokenizer.ggml.tokens", `has in token ${id} what stands for no byte`);
      bytes += String.fromCharCode(byte);
    }
    return `${btoa(bytes)} ${id}`;
  }).join("\n");
}

/** `tokenizer_config.json` of a file. @throws {LatentmeshError} `invalid_config` that names a key */
export function tokenizerConfigText(metadata: GgufMetadata): string {
  const tokens = metadata.strings("tokenizer.ggml.tokens") ?? [];
  const kinds = metadata.numbers("tokenizer.ggml.token_type");
  const textOf = (key: string) => {
    const id = metadata.number(key);
    if (id === undefined) return null;
    return tokens[id] ?? metadata.refuse(key, `is ${id}, and there are ${tokens.length} tokens`);
  };
  const named = tokens.flatMap((content, id) =>
    kinds !== undefined && isNamed({ id, text: content, kind: kinds[id] }) ? [[id, { content, special: kinds[id] === KINDS.control }]] : []
  );
  return JSON.stringify({
    bos_token: textOf("tokenizer.ggml.bos_token_id"),
    eos_token: textOf("tokenizer.ggml.eos_token_id"),
    add_bos_token: metadata.boolean("tokenizer.ggml.add_bos_token") ?? false,
    chat_template: templates(metadata),
    ...(metadata.string("tokenizer.ggml.pre") === MOONSHOT
      ? { tokenizer_class: "TikTokenTokenizer", added_tokens_decoder: Object.fromEntries(named) }
      : {}),
  });
}

const TEMPLATE = "tokenizer.chat_template";

function templates(metadata: GgufMetadata): string | null | { readonly name: string; readonly template: string }[] {
  const usual = metadata.string(TEMPLATE);
  const others = metadata.keys(`${TEMPLATE}.`).map((key) => ({ name: key.slice(TEMPLATE.length + 1), template: metadata.string(key)! }));
  if (others.length === 0) return usual ?? null;
  return [...(usual === undefined ? [] : [{ name: "default", template: usual }]), ...others];
}

/** `generation_config.json` of a file. @throws {LatentmeshError} `invalid_config` that names a key */
export function generationConfigText(metadata: GgufMetadata): string {
  const ends = ["eos", "eot", "eom"].flatMap((end) => metadata.number(`tokenizer.ggml.${end}_token_id`) ?? []);
  return JSON.stringify({
    eos_token_id: [...new Set(ends)],
    temperature: metadata.number("general.sampling.temp"),
    top_p: metadata.number("general.sampling.top_p"),
    top_k: metadata.number("general.sampling.top_k"),
    repetition_penalty: metadata.number("general.sampling.penalty_repeat"),
  });
}
