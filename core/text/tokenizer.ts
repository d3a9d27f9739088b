/**
 * Text ↔ tokens, by a checkpoint's own `tokenizer.json` or `tiktoken.model`.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError, messageOf } from "../errors.ts";
import type { ModelFiles } from "../model/checkpoint.ts";
import { readTextSource, type TextSource } from "./text_source.ts";
import { HuggingFaceVocabulary } from "./vocabularies/hugging_face.ts";
import { TiktokenVocabulary } from "./vocabularies/tiktoken.ts";
import type { Vocabulary } from "./vocabularies/vocabulary.ts";

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

/** A tokenizer with what serving needs besides encode and decode. */
export class TextTokenizer {
  /** The parsed configuration. */
  readonly config: TokenizerConfig;
  /** Id of BOS, if there is one. */
  readonly bosToken: number | null;
  /** Id of EOS, if there is one. */
  readonly eosToken: number | null;
  readonly #name: string;
  readonly #vocabulary: Vocabulary;

  private constructor(name: string, vocabulary: Vocabulary, config: TokenizerConfig) {
    this.#name = name;
    this.#vocabulary = vocabulary;
    this.config = config;
    this.bosToken = config.bos_token == null ? null : vocabulary.tokenOf(config.bos_token);
    this.eosToken = config.eos_token == null ? null : vocabulary.tokenOf(config.eos_token);
  }

  /** Whether tokens are bytes, so that each one's bytes are known by itself. */
  get byteLevel(): boolean {
    return this.#vocabulary.byteLevel;
  }

  /** Reads the vocabulary and `tokenizer_config.json`. @throws {LatentmeshError} `not_found` or `invalid_checkpoint` */
  static async load(files: ModelFiles): Promise<TextTokenizer> {
    return TextTokenizer.of(await readTextSource(files));
  }

  /** Makes it from their texts. @throws {LatentmeshError} `invalid_checkpoint` */
  static of({ name, tokenizer, tokenizerFile, config: configText }: TextSource): TextTokenizer {
    try {
      const config = configSchema.parse(JSON.parse(configText ?? "{}"));
      return new TextTokenizer(name, vocabularyOf(tokenizerFile, tokenizer, config), config);
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
    const ids = this.#guarded(() => this.#vocabulary.encode(text, options.special));
    return options.special && this.config.add_bos_token === true ? this.withBos(ids) : ids;
  }

  /** Tokens that a text has at least, without tokenising it; 0 where that cannot be told. */
  leastTokens(text: string): number {
    return Math.ceil(new TextEncoder().encode(text).length / this.#vocabulary.mostBytes);
  }

  /** The same tokens with BOS first, if there is one and it is not there yet. */
  withBos(tokens: number[]): number[] {
    return this.bosToken === null || tokens[0] === this.bosToken ? tokens : [this.bosToken, ...tokens];
  }

  /** Tokens → text. */
  decode(tokens: readonly number[], options: { readonly skipSpecial: boolean }): string {
    if (tokens.length === 0) return "";
    return this.#guarded(() => this.#vocabulary.decode(tokens, options.skipSpecial));
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
    return this.#vocabulary.tokenOf(text);
  }

  /** True for tokens that are markers, not text. */
  isSpecial(token: number): boolean {
    return this.#vocabulary.added.get(token)?.special ?? false;
  }

  /** The bytes a token stands for; of tokenizers that are not byte-level, those of its text by itself. */
  bytesOf(token: number): Uint8Array<ArrayBuffer> {
    const added = this.#vocabulary.added.get(token);
    if (added !== undefined) return new TextEncoder().encode(added.content);
    return this.#guarded(() => this.#vocabulary.bytesOf(token)) ?? new Uint8Array();
  }
}

function vocabularyOf(file: TextSource["tokenizerFile"], text: string, config: TokenizerConfig): Vocabulary {
  switch (file) {
    case "tokenizer.json":
      return new HuggingFaceVocabulary(text, config);
    case "tiktoken.model":
      return new TiktokenVocabulary(text, config);
    default:
      return file satisfies never;
  }
}
