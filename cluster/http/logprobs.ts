/**
 * Log-probabilities in the two forms OpenAI has.
 *
 * @module
 */
import type { TokenLogprob } from "../../core/engine.ts";
import type { TextTokenizer } from "../../core/text/tokenizer.ts";
import type { Slices } from "./slices.ts";

/** Stands for minus infinity, which JSON lacks. */
const LEAST = -9999;

function textOf(tokenizer: TextTokenizer, token: number): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(tokenizer.bytesOf(token));
}

function entry(tokenizer: TextTokenizer, { token, logprob }: { token: number; logprob: number }) {
  return { token: textOf(tokenizer, token), logprob: Math.max(LEAST, logprob), bytes: [...tokenizer.bytesOf(token)] };
}

/** Tokens whose log-probabilities are written at a time. */
export const LOGPROBS_RUN = 64;

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

/** A token by itself: its text or, where that is not whole characters, `bytes:\xe2\x82` as OpenAI writes it, so that different tokens have different names. */
function nameOf(tokenizer: TextTokenizer, token: number): string {
  const bytes = tokenizer.bytesOf(token);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

/** A token and its log-probability; null where it has none (the first of the prompt). */
export type ScoredToken = readonly [token: number, logprob: TokenLogprob | null];

/** `choices[].logprobs` of completions. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Readonly<Record<string, number>> | null)[];
  readonly text_offset: number[];
}

/** Writes log-probabilities of completions; counts text offsets from piece to piece. */
export class CompletionLogprobsWriter {
  readonly #tokenizer: TextTokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #offset = 0;

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer;
  }

  write(scored: readonly ScoredToken[]): CompletionLogprobs {
    const name = (token: number) => nameOf(this.#tokenizer, token);
    return {
      tokens: scored.map(([token]) => name(token)),
      token_logprobs: scored.map(([, logprob]) => (logprob === null ? null : Math.max(LEAST, logprob.logprob))),
      top_logprobs: scored.map(([, logprob]) =>
        logprob === null ? null : Object.fromEntries(logprob.top.map((top) => [name(top.token), Math.max(LEAST, top.logprob)]))
      ),
      text_offset: scored.map(([token]) => {
        const offset = this.#offset;
        // Special tokens are not part of the text.
        if (!this.#tokenizer.isSpecial(token)) this.#offset += this.#decoder.decode(this.#tokenizer.bytesOf(token), { stream: true }).length;
        return offset;
      }),
    };
  }

  /** The same of a whole text, beside other work. */
  async writeWhole(scored: readonly ScoredToken[], slices: Slices): Promise<CompletionLogprobs> {
    const parts = await slices.map(scored, LOGPROBS_RUN, (part) => [this.write(part)]);
    return {
      tokens: parts.flatMap(({ tokens }) => tokens),
      token_logprobs: parts.flatMap(({ token_logprobs }) => token_logprobs),
      top_logprobs: parts.flatMap(({ top_logprobs }) => top_logprobs),
      text_offset: parts.flatMap(({ text_offset }) => text_offset),
    };
  }
}
