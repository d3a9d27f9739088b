/**
 * Log-probabilities in the two forms OpenAI has.
 *
 * @module
 */
import type { TokenLogprob } from "../../core/engine.ts";
import type { TextTokenizer } from "../../core/text/tokenizer.ts";

/** Stands for minus infinity, which JSON lacks. */
const LEAST = -9999;

function textOf(tokenizer: TextTokenizer, token: number): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(tokenizer.bytesOf(token));
}

function entry(tokenizer: TextTokenizer, { token, logprob }: { token: number; logprob: number }) {
  return { token: textOf(tokenizer, token), logprob: Math.max(LEAST, logprob), bytes: [...tokenizer.bytesOf(token)] };
}

/** `choices[].logprobs` of chat completions. */
export function chatLogprobs(tokenizer: TextTokenizer, logprobs: readonly TokenLogprob[]) {
  return {
    content: logprobs.map((logprob) => ({ ...entry(tokenizer, logprob), top_logprobs: logprob.top.map((top) => entry(tokenizer, top)) })),
    refusal: null,
  };
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

/** `choices[].logprobs` of completions; counts text offsets from piece to piece. */
export class CompletionLogprobs {
  readonly #tokenizer: TextTokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #offset = 0;

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** @param logprobs null where a token has none (the first of the prompt) */
  of(tokens: readonly number[], logprobs: readonly (TokenLogprob | null)[]) {
    const name = (token: number) => nameOf(this.#tokenizer, token);
    return {
      tokens: tokens.map(name),
      token_logprobs: logprobs.map((logprob) => (logprob === null ? null : Math.max(LEAST, logprob.logprob))),
      top_logprobs: logprobs.map((logprob) =>
        logprob === null ? null : Object.fromEntries(logprob.top.map((top) => [name(top.token), Math.max(LEAST, top.logprob)]))
      ),
      text_offset: tokens.map((token) => {
        const offset = this.#offset;
        // Special tokens are not part of the text.
        if (!this.#tokenizer.isSpecial(token)) this.#offset += this.#decoder.decode(this.#tokenizer.bytesOf(token), { stream: true }).length;
        return offset;
      }),
    };
  }
}
