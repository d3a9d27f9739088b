/**
 * A model's vocabulary as grammars see it.
 *
 * @module
 */

/** Texts of all tokens. */
export interface GrammarVocabulary {
  /** Bytes of all tokens, one after the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where each token's bytes begin, and where the last one's end: [tokens + 1]. A token without any is never allowed. */
  readonly offsets: Uint32Array<ArrayBuffer>;
  /** Tokens that end an answer: allowed where the grammar may end. */
  readonly stopTokens: readonly number[];
}

/** The bytes of a token. */
export function tokenBytes({ bytes, offsets }: GrammarVocabulary, token: number): Uint8Array {
  return bytes.subarray(offsets[token], offsets[token + 1]);
}
