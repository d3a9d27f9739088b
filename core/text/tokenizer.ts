/**
 * Text ↔ tokens, by a checkpoint's own `tokenizer.json`.
 *
 * @module
 */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { LatentmeshError, messageOf } from "../errors.ts";
import type { ModelFiles } from "../model/checkpoint.ts";
import { BYTE_OF_CHARACTER } from "./byte_alphabet.ts";

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

/** The texts that a tokenizer is made of. */
export interface TokenizerFiles {
  /** How they are named in errors. */
  readonly name: string;
  /** `tokenizer.json` */
  readonly tokenizer: string;
  /** `tokenizer_config.json` */
  readonly config: string;
}

/** A tokenizer with what serving needs besides encode and decode. */
export class TextTokenizer {
  /** What it is made of: another thread can make the same. */
  readonly files: TokenizerFiles;
  /** The parsed configuration. */
  readonly config: TokenizerConfig;
  /** Id of BOS, if there is one. */
  readonly bosToken: number | null;
  /** Id of EOS, if there is one. */
  readonly eosToken: number | null;
  /** Whether tokens are bytes in the GPT-2 alphabet, so that each one's bytes are known by itself. */
  readonly byteLevel: boolean;
  readonly #tokenizer: HuggingFaceTokenizer;
  readonly #special = new Set<number>();
  readonly #added = new Map<number, string>();

  private constructor(files: TokenizerFiles, tokenizer: HuggingFaceTokenizer, config: TokenizerConfig, byteLevel: boolean) {
    this.files = files;
    this.#tokenizer = tokenizer;
    this.config = config;
    this.byteLevel = byteLevel;
    for (const [id, token] of tokenizer.get_added_tokens_decoder()) {
      this.#added.set(id, token.content);
      if (token.special) this.#special.add(id);
    }
    this.bosToken = config.bos_token == null ? null : tokenizer.token_to_id(config.bos_token) ?? null;
    this.eosToken = config.eos_token == null ? null : tokenizer.token_to_id(config.eos_token) ?? null;
  }

  /** Reads `tokenizer.json` and `tokenizer_config.json`. @throws {LatentmeshError} `not_found` or `invalid_checkpoint` */
  static async load(files: ModelFiles): Promise<TextTokenizer> {
    const tokenizer = await files.text("tokenizer.json");
    if (tokenizer === null) throw new LatentmeshError("not_found", `Cannot load ${files.name}: it has no tokenizer.json`);
    return TextTokenizer.parse({ name: files.name, tokenizer, config: (await files.text("tokenizer_config.json")) ?? "{}" });
  }

  /** Makes one of its texts. @throws {LatentmeshError} `invalid_checkpoint` */
  static parse(files: TokenizerFiles): TextTokenizer {
    try {
      const data = JSON.parse(files.tokenizer);
      const config = configSchema.parse(JSON.parse(files.config));
      const decoder = decoderSchema.safeParse(data.decoder).data;
      const byteLevel = [decoder, ...(decoder?.decoders ?? [])].some((part) => part?.type === "ByteLevel");
      return new TextTokenizer(files, new HuggingFaceTokenizer(data, config), config, byteLevel);
    } catch (cause) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot load the tokenizer of ${files.name}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Text → tokens.
   *
   * @param options.special add what the tokenizer puts around a text, such as BOS; off for rendered chat templates, which write their own
   */
  encode(text: string, options: { readonly special: boolean }): number[] {
    const { ids } = this.#tokenizer.encode(text, { add_special_tokens: options.special });
    return options.special && this.config.add_bos_token === true ? this.withBos(ids) : ids;
  }

  /** The same tokens with BOS first, if there is one and it is not there yet. */
  withBos(tokens: number[]): number[] {
    return this.bosToken === null || tokens[0] === this.bosToken ? tokens : [this.bosToken, ...tokens];
  }

  /** Tokens → text. */
  decode(tokens: readonly number[], options: { readonly skipSpecial: boolean }): string {
    if (tokens.length === 0) return "";
    return this.#tokenizer.decode([...tokens], { skip_special_tokens: options.skipSpecial, clean_up_tokenization_spaces: false });
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
