/**
 * What is said to the thread that tokenises long texts, and what it answers.
 *
 * @module
 */
import type { TokenizerFiles } from "../../core/text/tokenizer.ts";

/** To the thread: first the tokenizer, then texts, each answered once and in order. */
export type ToTextThread =
  | { readonly kind: "tokenizer"; readonly files: TokenizerFiles }
  | { readonly kind: "encode"; readonly texts: readonly string[]; readonly special: boolean };

/** From the thread: the tokens of each text. */
export type FromTextThread = readonly Uint32Array<ArrayBuffer>[];
