/**
 * Vocabularies in a `tiktoken.model`, as Moonlight and Kimi-K2 are published: a line per token, its bytes in base64 and its rank.
 *
 * @module
 */
import { z } from "zod";
import { bytePairs, type Ranks } from "./byte_pairs.ts";
import { moonshotPieces } from "./moonshot_pieces.ts";
import type { AddedToken, Vocabulary } from "./vocabulary.ts";

const configSchema = z.looseObject({
  tokenizer_class: z.string().nullish(),
  added_tokens_decoder: z.record(
    z.string().regex(/^\d{1,9}$/),
    z.looseObject({ content: z.string().min(1).max(1024), special: z.boolean().nullish() }),
  ).nullish(),
});

/** Ids behind the ranks that have a name even if nobody gave them one. */
const RESERVED = 256;

/** A `tiktoken.model` with the named tokens of `tokenizer_config.json`. */
export class TiktokenVocabulary implements Vocabulary {
  readonly byteLevel = true;
  readonly mostBytes: number;
  readonly added: ReadonlyMap<number, AddedToken>;
  readonly #ranks: Ranks;
  /** Bytes of each token, as characters. */
  readonly #tokens: readonly string[];
  readonly #addedIds: ReadonlyMap<string, number>;
  readonly #markers: RegExp;

  /** @throws {Error} where the file is not one, or of a family whose way to cut texts is not known */
  constructor(text: string, config: object) {
    const { tokenizer_class: name, added_tokens_decoder: named } = configSchema.parse(config);
    if (name !== "TikTokenTokenizer") {
      throw new Error(`tokenizer_class is "${name}"; with a tiktoken.model, only "TikTokenTokenizer" is known (of Moonlight and Kimi-K2)`);
    }
    this.#tokens = readTokens(text);
    this.#ranks = new Map(this.#tokens.map((bytes, rank) => [bytes, rank]));
    if (this.#ranks.size !== this.#tokens.length) throw new Error("tiktoken.model has a token twice");
    for (let byte = 0; byte < 256; byte++) {
      if (!this.#ranks.has(String.fromCharCode(byte))) throw new Error(`tiktoken.model has no token for the byte ${byte}`);
    }
    this.added = addedTokens(this.#tokens.length, named ?? {});
    this.#addedIds = new Map([...this.added].map(([id, { content }]) => [content, id]));
    if (this.#addedIds.size !== this.added.size) throw new Error("two tokens of added_tokens_decoder have the same text");
    // The longer first, where one begins as another does.
    const contents = [...this.#addedIds.keys()].sort((a, b) => b.length - a.length);
    this.#markers = new RegExp(`(${contents.map((content) => RegExp.escape(content)).join("|")})`, "u");
    const longest = contents.map((content) => new TextEncoder().encode(content).length);
    this.mostBytes = [...longest, ...this.#tokens.map((bytes) => bytes.length)].reduce((most, bytes) => Math.max(most, bytes), 1);
  }

  /** Nothing belongs around a text. */
  encode(text: string): number[] {
    const tokens: number[] = [];
    text.split(this.#markers).forEach((part, i) => {
      if (i % 2 === 1) tokens.push(this.#addedIds.get(part)!);
      else for (const piece of moonshotPieces(part)) for (const token of bytePairs(charactersOf(piece), this.#ranks)) tokens.push(token);
    });
    return tokens;
  }

  decode(tokens: readonly number[], skipSpecial: boolean): string {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let text = "";
    for (const token of tokens) {
      const added = this.added.get(token);
      if (added?.special && skipSpecial) continue;
      text += decoder.decode(added === undefined ? this.bytesOf(token) ?? new Uint8Array() : new TextEncoder().encode(added.content), {
        stream: true,
      });
    }
    return text + decoder.decode();
  }

  tokenOf(text: string): number | null {
    return this.#addedIds.get(text) ?? this.#ranks.get(charactersOf(text)) ?? null;
  }

  bytesOf(token: number): Uint8Array<ArrayBuffer> | null {
    const bytes = this.#tokens[token];
    return bytes === undefined ? null : Uint8Array.from(bytes, (character) => character.charCodeAt(0));
  }
}

/** Bytes of each token in the order of their ranks, as characters. */
function readTokens(text: string): string[] {
  const tokens: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line === "") continue;
    const [bytes, rank, ...more] = line.split(" ");
    if (more.length > 0 || rank !== String(tokens.length)) {
      throw new Error(`line ${tokens.length + 1} of tiktoken.model does not end with the rank ${tokens.length}`);
    }
    try {
      tokens.push(atob(bytes));
    } catch (cause) {
      throw new Error(`line ${tokens.length + 1} of tiktoken.model is not base64`, { cause });
    }
  }
  return tokens;
}

function addedTokens(first: number, named: NonNullable<z.infer<typeof configSchema>["added_tokens_decoder"]>): Map<number, AddedToken> {
  const added = new Map<number, AddedToken>();
  for (let id = first; id < first + RESERVED; id++) added.set(id, { content: `<|reserved_token_${id}|>`, special: true });
  for (const [key, { content, special }] of Object.entries(named)) {
    const id = Number(key);
    if (id < first) throw new Error(`added_tokens_decoder names ${id}, which is a token of tiktoken.model`);
    added.set(id, { content, special: special ?? false });
  }
  return added;
}

/** UTF-8 bytes of a text, as characters. */
function charactersOf(text: string): string {
  let characters = "";
  for (const byte of new TextEncoder().encode(text)) characters += String.fromCharCode(byte);
  return characters;
}
