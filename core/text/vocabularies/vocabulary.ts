/**
 * What a tokenizer is, whichever file it was read from.
 *
 * @module
 */

/** A token that is not learnt from text but named. */
export interface AddedToken {
  readonly content: string;
  /** A marker, not text. */
  readonly special: boolean;
}

/** Text ↔ tokens. */
export interface Vocabulary {
  /** Whether the bytes of each token are known by itself. */
  readonly byteLevel: boolean;
  /** Most bytes of a text that one token stands for; Infinity where parts of texts may be left out. */
  readonly mostBytes: number;
  /** Named tokens by id. */
  readonly added: ReadonlyMap<number, AddedToken>;
  /** @param special add what belongs around a text, such as BOS */
  encode(text: string, special: boolean): number[];
  /** @param skipSpecial leave markers out */
  decode(tokens: readonly number[], skipSpecial: boolean): string;
  /** Id of the token with this text; null if there is none. */
  tokenOf(text: string): number | null;
  /** The bytes that a token which is not an added one stands for; null if there is none of this id. */
  bytesOf(token: number): Uint8Array<ArrayBuffer> | null;
}
