/**
 * Text ↔ tokens, by a checkpoint's own `tokenizer.json`.
 *
 * @module
 */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { LatentmeshError, messageOf } from "../errors.ts";
import type { ModelFiles } from "../model/checkpoint.ts";
import { BYTE_OF_CHARACTER } from "../byte_alphabet.ts";
import { readTextSource, type TextSource } from "./text_source.ts";

/** `tokenizer_config.json`, as far as it is used. Special tokens are strings or, in older files, objects with `content`. */
const specialToken = z.union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)]).nullish();
const configSchema = z.looseObject({
  bos_token: specialToken,
  eos_token: specialToken,
  add_bos_token: z.boolean().nullish(),
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

/** Parsed `tokenizer_config.json`. */
export interface TokenizerConfig {
  /** Text of the special tokens. */
  readonly bos_token?: string | null;
  /** End of text. */
  readonly eos_token?: string | null;
  /** Whether texts begin with `bos_token`. */
  readonly add_bos_token?: boolean | null;
  /** One template, or several by name. */
  readonly chat_template?: string | readonly { readonly name: string; readonly template: string }[] | null;
}

const decoderSchema = z.looseObject({ type: z.string(), decoders: z.array(z.looseObject({ type: z.string() })).optional() });

/**
 * Whether there is a regular expression in what turns tokens into text. That is done where everything else is coordinated, and some expressions take years for a
 * short text. (Those that take texts apart are run in processes that can be ended.)
 */
function holdsExpression(decoder: unknown): boolean {
  if (typeof decoder !== "object" || decoder === null) return false;
  return "Regex" in decoder || Object.values(decoder).some(holdsExpression);
}

const preTokenizerSchema = z.looseObject({ type: z.string(), behavior: z.string().optional(), pretokenizers: z.array(z.unknown()).optional() });

/** Whether everything of a text goes on to be cut into tokens. */
function keepsAll(preTokenizer: unknown): boolean {
  if (preTokenizer === null) return true;
  const part = preTokenizerSchema.safeParse(preTokenizer).data;
  switch (part?.type) {
    case "ByteLevel":
    case "Digits":
      return true;
    case "Split":
      return part.behavior !== "Removed";
    case "Sequence":
      return part.pretokenizers?.every(keepsAll) ?? false;
    default:
      return false;
  }
}

const keepingSchema = z.object({
  normalizer: z.union([z.null(), z.object({ type: z.literal("Sequence"), normalizers: z.array(z.never()) })]).optional(),
  pre_tokenizer: z.unknown().refine(keepsAll),
  added_tokens: z.array(z.object({ content: z.string(), lstrip: z.literal(false), rstrip: z.literal(false) })),
  model: z.object({ vocab: z.custom<object>((vocab) => typeof vocab === "object" && vocab !== null), fuse_unk: z.literal(false).nullish() }),
});

/** Most bytes of a text that a token of a byte-level vocabulary stands for; Infinity where parts of texts may be left out. */
function mostBytesOf(data: unknown): number {
  const { data: keeping } = keepingSchema.safeParse(data);
  if (keeping === undefined) return Infinity;
  let most = 1;
  // In the alphabet of bytes, each character is one.
  for (const token of Object.keys(keeping.model.vocab)) most = Math.max(most, token.length);
  for (const { content } of keeping.added_tokens) most = Math.max(most, new TextEncoder().encode(content).length);
  return most;
}

/** A tokenizer with what serving needs besides encode and decode. */
export class TextTokenizer {
  /** The parsed configuration. */
  readonly config: TokenizerConfig;
  /** Id of BOS, if there is one. */
  readonly bosToken: number | null;
  /** Id of EOS, if there is one. */
  readonly eosToken: number | null;
  /** Whether tokens are bytes in the GPT-2 alphabet, so that each one's bytes are known by itself. */
  readonly byteLevel: boolean;
  readonly #name: string;
  readonly #tokenizer: HuggingFaceTokenizer;
  readonly #special = new Set<number>();
  readonly #added = new Map<number, string>();
  /** Most bytes of a text that one token stands for; Infinity: it cannot be told. */
  readonly #mostBytes: number;

  private constructor(
    name: string,
    tokenizer: HuggingFaceTokenizer,
    config: TokenizerConfig,
    traits: { readonly byteLevel: boolean; readonly mostBytes: number },
  ) {
    this.#name = name;
    this.#tokenizer = tokenizer;
    this.config = config;
    this.byteLevel = traits.byteLevel;
    this.#mostBytes = traits.mostBytes;
    for (const [id, token] of tokenizer.get_added_tokens_decoder()) {
      if (typeof token.content !== "string") throw new Error("an added token has no text");
      this.#added.set(id, token.content);
      if (token.special) this.#special.add(id);
    }
    this.bosToken = config.bos_token == null ? null : tokenizer.token_to_id(config.bos_token) ?? null;
    this.eosToken = config.eos_token == null ? null : tokenizer.token_to_id(config.eos_token) ?? null;
  }

  /** Reads `tokenizer.json` and `tokenizer_config.json`. @throws {LatentmeshError} `not_found` or `invalid_checkpoint` */
  static async load(files: ModelFiles): Promise<TextTokenizer> {
    return TextTokenizer.of(await readTextSource(files));
  }

  /** Makes it from their texts. @throws {LatentmeshError} `invalid_checkpoint` */
  static of({ name, tokenizer, config: configText }: TextSource): TextTokenizer {
    try {
      const data = JSON.parse(tokenizer);
      const config = configSchema.parse(JSON.parse(configText ?? "{}"));
      if (holdsExpression(data.decoder)) throw new Error("its decoder has a regular expression, which is not supported");
      const decoder = decoderSchema.safeParse(data.decoder).data;
      const byteLevel = [decoder, ...(decoder?.decoders ?? [])].some((part) => part?.type === "ByteLevel");
      return new TextTokenizer(name, new HuggingFaceTokenizer(data, config), config, {
        byteLevel,
        mostBytes: byteLevel ? mostBytesOf(data) : Infinity,
      });
    } catch (cause) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot load the tokenizer of ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Text → tokens.
   *
   * @param options.special add what the tokenizer puts around a text, such as BOS; off for rendered chat templates, which write their own
   */
  encode(text: string, options: { readonly special: boolean }): number[] {
    const { ids } = this.#guarded(() => this.#tokenizer.encode(text, { add_special_tokens: options.special }));
    return options.special && this.config.add_bos_token === true ? this.withBos(ids) : ids;
  }

  /** Tokens that a text has at least, without tokenising it; 0 where that cannot be told. */
  leastTokens(text: string): number {
    return Math.ceil(new TextEncoder().encode(text).length / this.#mostBytes);
  }

  /** The same tokens with BOS first, if there is one and it is not there yet. */
  withBos(tokens: number[]): number[] {
    return this.bosToken === null || tokens[0] === this.bosToken ? tokens : [this.bosToken, ...tokens];
  }

  /** Tokens → text. */
  decode(tokens: readonly number[], options: { readonly skipSpecial: boolean }): string {
    if (tokens.length === 0) return "";
    const how = { skip_special_tokens: options.skipSpecial, clean_up_tokenization_spaces: false };
    return this.#guarded(() => this.#tokenizer.decode([...tokens], how));
  }

  /** A file that could be read may still ask for what fails, or for nothing, when a text comes. */
  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      // What is nested or long beyond the stack is the text's doing.
      if (cause instanceof RangeError) throw cause;
      throw new LatentmeshError("invalid_checkpoint", `The tokenizer of ${this.#name} fails: ${messageOf(cause)}`, { cause });
    }
  }

  /** Id of the token with this text; null if there is none. */
  tokenOf(text: string): number | null {
    return this.#tokenizer.token_to_id(text) ?? null;
  }

  /** True for tokens that are markers, not text. */
  isSpecial(token: number): boolean {
    return this.#special.has(token);
  }

  /** The bytes a token stands for; of tokenizers that are not byte-level, those of its text by itself. */
  bytesOf(token: number): Uint8Array<ArrayBuffer> {
    const added = this.#added.get(token);
    if (added !== undefined) return new TextEncoder().encode(added);
    const content = this.#tokenizer.id_to_token(token);
    if (content === undefined) return new Uint8Array();
    if (!this.byteLevel) return new TextEncoder().encode(this.decode([token], { skipSpecial: false }));
    const bytes = new Uint8Array(content.length);
    for (let i = 0; i < content.length; i++) {
      const byte = BYTE_OF_CHARACTER.get(content[i]);
      // A token of the vocabulary that is not in the byte alphabet stands for its own text.
      if (byte === undefined) return new TextEncoder().encode(content);
      bytes[i] = byte;
    }
    return bytes;
  }
}
