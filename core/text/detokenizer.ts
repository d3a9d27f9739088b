/**
 * Incremental detokenisation: pieces never hold half a UTF-8 character, never lose a space, and together are what decoding all tokens at once gives.
 *
 * @module
 */
import type { TextTokenizer } from "./tokenizer.ts";

/** Turns tokens into text as they come. */
export interface Detokenizer {
  /** Text that became certain with this token; may be empty. */
  push(token: number): string;
  /** What was held back. */
  finish(): string;
}

/** Special tokens that are part of a text, such as markers of tool calls; all others are left out of it. */
export type KeptTokens = ReadonlySet<number> | "all";

/** Whether a token has a place in a text. */
export function isShown(tokenizer: TextTokenizer, kept: KeptTokens, token: number): boolean {
  return kept === "all" || !tokenizer.isSpecial(token) || kept.has(token);
}

/** @param kept default: no special tokens at all */
export function createDetokenizer(tokenizer: TextTokenizer, kept: KeptTokens = new Set()): Detokenizer {
  return tokenizer.byteLevel ? new ByteDetokenizer(tokenizer, kept) : new WindowDetokenizer(tokenizer, kept);
}

/** Byte-level vocabularies: the bytes of each token go through a streaming UTF-8 decoder. */
class ByteDetokenizer implements Detokenizer {
  readonly #tokenizer: TextTokenizer;
  readonly #kept: KeptTokens;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: TextTokenizer, kept: KeptTokens) {
    this.#tokenizer = tokenizer;
    this.#kept = kept;
  }

  push(token: number): string {
    if (!isShown(this.#tokenizer, this.#kept, token)) return "";
    return this.#decoder.decode(this.#tokenizer.bytesOf(token), { stream: true });
  }

  finish(): string {
    return this.#decoder.decode();
  }
}

/**
 * Other vocabularies, where the text of a token depends on its neighbours: a window of tokens is decoded again with each new one, and what it adds is
 * handed out once it does not end in the middle of a character.
 */
class WindowDetokenizer implements Detokenizer {
  readonly #tokenizer: TextTokenizer;
  readonly #kept: KeptTokens;
  /** Tokens already handed out that give the next ones their context, then the pending ones. */
  #window: number[] = [];
  #handedOut = 0;

  constructor(tokenizer: TextTokenizer, kept: KeptTokens) {
    this.#tokenizer = tokenizer;
    this.#kept = kept;
  }

  push(token: number): string {
    if (!isShown(this.#tokenizer, this.#kept, token)) return "";
    this.#window.push(token);
    const pending = this.#window.length - this.#handedOut;
    const text = this.#pendingText();
    // A character has at most four bytes, so a longer run of broken ones is broken for good.
    if (text.endsWith("\ufffd") && pending <= 4) return "";
    this.#window = this.#window.slice(this.#handedOut);
    this.#handedOut = this.#window.length;
    return text;
  }

  finish(): string {
    const text = this.#pendingText();
    this.#handedOut = this.#window.length;
    return text;
  }

  #pendingText(): string {
    const decode = (tokens: readonly number[]) => this.#tokenizer.decode(tokens, { skipSpecial: false });
    return decode(this.#window).slice(decode(this.#window.slice(0, this.#handedOut)).length);
  }
}
