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

/** `choices[].logprobs` of completions; counts text offsets from piece to piece. */
export class CompletionLogprobs {
  readonly #tokenizer: TextTokenizer;
  #offset = 0;

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** @param logprobs null where a token has none (the first of the prompt) */
  of(tokens: readonly number[], logprobs: readonly (TokenLogprob | null)[]) {
    const texts = tokens.map((token) => textOf(this.#tokenizer, token));
    return {
      tokens: texts,
      token_logprobs: logprobs.map((logprob) => (logprob === null ? null : Math.max(LEAST, logprob.logprob))),
      top_logprobs: logprobs.map((logprob) =>
        logprob === null ? null : Object.fromEntries(logprob.top.map((top) => [textOf(this.#tokenizer, top.token), Math.max(LEAST, top.logprob)]))
      ),
      text_offset: tokens.map((token, i) => {
        const offset = this.#offset;
        // Special tokens are not part of the text.
        if (!this.#tokenizer.isSpecial(token)) this.#offset += texts[i].length;
        return offset;
      }),
    };
  }
}
