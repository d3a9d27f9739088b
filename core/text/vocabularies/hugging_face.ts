/**
 * Vocabularies in a `tokenizer.json`.
 *
 * @module
 */
import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { BYTE_OF_CHARACTER } from "../../byte_alphabet.ts";
import type { AddedToken, Vocabulary } from "./vocabulary.ts";

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

/** How GPT-2 cuts texts. */
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/**
 * The same with GPT-2's expression as one of its own: of those, `@huggingface/tokenizers` knows that U+0085 is white space and U+FEFF is none, and of what is in
 * `ByteLevel` it does not.
 */
function withOwnExpression(preTokenizer: unknown): unknown {
  const { data: part } = preTokenizerSchema.safeParse(preTokenizer);
  if (part === undefined) return preTokenizer;
  if (part.type === "Sequence") return { ...part, pretokenizers: part.pretokenizers?.map(withOwnExpression) };
  // A space that is added comes before texts are cut.
  if (part.type !== "ByteLevel" || part.use_regex === false || part.add_prefix_space !== false) return part;
  const split = { type: "Split", pattern: { Regex: GPT2 }, behavior: "Isolated", invert: false };
  return { type: "Sequence", pretokenizers: [split, { ...part, use_regex: false }] };
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

/** A `tokenizer.json`. */
export class HuggingFaceVocabulary implements Vocabulary {
  /** Whether tokens are bytes in the GPT-2 alphabet. */
  readonly byteLevel: boolean;
  readonly mostBytes: number;
  readonly added: ReadonlyMap<number, AddedToken>;
  readonly #tokenizer: Tokenizer;

  /** @throws {Error} where the file is not one, or asks for what is not supported */
  constructor(text: string, config: object) {
    const data = JSON.parse(text);
    if (holdsExpression(data.decoder)) throw new Error("its decoder has a regular expression, which is not supported");
    const decoder = decoderSchema.safeParse(data.decoder).data;
    this.byteLevel = [decoder, ...(decoder?.decoders ?? [])].some((part) => part?.type === "ByteLevel");
    this.#tokenizer = new Tokenizer({ ...data, pre_tokenizer: withOwnExpression(data.pre_tokenizer) }, config);
    this.mostBytes = this.byteLevel ? mostBytesOf(data) : Infinity;
    const added = new Map<number, AddedToken>();
    for (const [id, { content, special }] of this.#tokenizer.get_added_tokens_decoder()) {
      if (typeof content !== "string") throw new Error("an added token has no text");
      added.set(id, { content, special: Boolean(special) });
    }
    this.added = added;
  }

  encode(text: string, special: boolean): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: special }).ids;
  }

  decode(tokens: readonly number[], skipSpecial: boolean): string {
    return this.#tokenizer.decode([...tokens], { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false });
  }

  tokenOf(text: string): number | null {
    return this.#tokenizer.token_to_id(text) ?? null;
  }

  bytesOf(token: number): Uint8Array<ArrayBuffer> | null {
    const content = this.#tokenizer.id_to_token(token);
    if (content === undefined) return null;
    if (!this.byteLevel) return new TextEncoder().encode(this.decode([token], false));
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
