/**
 * Log-probabilities in the two forms OpenAI has.
 *
 * @module
 */
import type { TokenLogprob } from "../../../core/engine.ts";
import { createDetokenizer, type Detokenizer } from "../../../core/text/detokenizer.ts";
import type { TextTokenizer } from "../../../core/text/tokenizer.ts";
import type { Slices } from "../../../core/slices.ts";

/** Stands for minus infinity, which JSON lacks. */
const LEAST = -9999;

/** A token by itself in both forms. */
interface NamedToken {
  /** Its text, with replacement characters where that is not whole characters. */
  readonly text: string;
  readonly bytes: readonly number[];
  /** Its text or, where that is not whole characters, `bytes:\xe2\x82` as OpenAI writes it, so that different tokens have different names. */
  readonly name: string;
}

/** Names are asked for again and again, and finding one takes long. */
const NAMES = new WeakMap<TextTokenizer, Map<number, NamedToken>>();

function named(tokenizer: TextTokenizer, token: number): NamedToken {
  const known = NAMES.get(tokenizer) ?? new Map<number, NamedToken>();
  NAMES.set(tokenizer, known);
  const found = known.get(token) ?? nameToken(tokenizer.bytesOf(token));
  known.set(token, found);
  return found;
}

function nameToken(bytes: Uint8Array<ArrayBuffer>): NamedToken {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const whole = !text.includes("\ufffd") || equals(new TextEncoder().encode(text), bytes);
  const name = whole ? text : `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  return { text, bytes: [...bytes], name };
}

function equals(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function entry(tokenizer: TextTokenizer, { token, logprob }: { token: number; logprob: number }) {
  const { text, bytes } = named(tokenizer, token);
  return { token: text, logprob: Math.max(LEAST, logprob), bytes };
}

/** Tokens whose log-probabilities are written at a time. */
export const LOGPROBS_RUN = 16;

/** `choices[].logprobs` of chat completions. */
export function chatLogprobs(tokenizer: TextTokenizer, logprobs: readonly TokenLogprob[]) {
  return { content: entries(tokenizer, logprobs), refusal: null };
}

/** The same of a whole answer, beside other work. */
export async function wholeChatLogprobs(tokenizer: TextTokenizer, logprobs: readonly TokenLogprob[], slices: Slices) {
  return { content: await slices.map(logprobs, LOGPROBS_RUN, (part) => entries(tokenizer, part)), refusal: null };
}

function entries(tokenizer: TextTokenizer, logprobs: readonly TokenLogprob[]) {
  return logprobs.map((logprob) => ({ ...entry(tokenizer, logprob), top_logprobs: logprob.top.map((top) => entry(tokenizer, top)) }));
}

/** A token, its log-probability (null where it has none, as the first of a prompt), and whether the text has a place for it. */
export type ScoredToken = readonly [token: number, logprob: TokenLogprob | null, shown: boolean];

/** `choices[].logprobs` of completions. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Readonly<Record<string, number>> | null)[];
  readonly text_offset: number[];
}

/** Writes log-probabilities of completions; counts from piece to piece where tokens begin in the text. */
export class CompletionLogprobsWriter {
  readonly #tokenizer: TextTokenizer;
  readonly #detokenizer: Detokenizer;
  #offset = 0;

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer;
    this.#detokenizer = createDetokenizer(tokenizer, "all");
  }

  /** @param length of the text so far: tokens that a stop string has cut off begin at its end */
  write(scored: readonly ScoredToken[], length: number): CompletionLogprobs {
    const name = (token: number) => named(this.#tokenizer, token).name;
    return {
      tokens: scored.map(([token]) => name(token)),
      token_logprobs: scored.map(([, logprob]) => (logprob === null ? null : Math.max(LEAST, logprob.logprob))),
      top_logprobs: scored.map(([, logprob]) =>
        logprob === null ? null : Object.fromEntries(logprob.top.map((top) => [name(top.token), Math.max(LEAST, top.logprob)]))
      ),
      text_offset: scored.map(([token, , shown]) => {
        const offset = Math.min(this.#offset, length);
        if (shown) this.#offset += this.#detokenizer.push(token).length;
        return offset;
      }),
    };
  }

  /** The same of a whole text, beside other work. @param scored in runs of at most {@link LOGPROBS_RUN}, made when they are wanted */
  async writeWhole(scored: Iterable<readonly ScoredToken[]>, length: number, slices: Slices): Promise<CompletionLogprobs> {
    const whole: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const run of scored) {
      const part = this.write(run, length);
      whole.tokens.push(...part.tokens);
      whole.token_logprobs.push(...part.token_logprobs);
      whole.top_logprobs.push(...part.top_logprobs);
      whole.text_offset.push(...part.text_offset);
      await slices.breathe();
    }
    return whole;
  }
}

/**
 * vLLM's `prompt_logprobs`: of each token of a prompt its log-probability and those of the best, by token id; null for the first. The rank of a token that is not
 * among the best is not known.
 */
export function promptLogprobs(
  tokenizer: TextTokenizer,
  prompt: readonly number[],
  logprobs: readonly (TokenLogprob | null)[],
  { most, slices }: { readonly most: number; readonly slices: Slices },
): Promise<(object | null)[]> {
  return slices.map(logprobs, LOGPROBS_RUN, (part, at) =>
    part.map((logprob, i) => {
      if (logprob === null) return null;
      const token = prompt[at + i];
      const best = logprob.top.slice(0, most);
      const all = best.some((top) => top.token === token) ? best : [...best, { token, logprob: logprob.logprob }];
      return Object.fromEntries(all.map((one, i) => {
        const rank = i < best.length ? i + 1 : null;
        return [one.token, { logprob: Math.max(LEAST, one.logprob), rank, decoded_token: named(tokenizer, one.token).text }];
      }));
    }));
}
