/**
 * A vocabulary, prepared for masks.
 *
 * @module
 */
import { MOST_PLAIN, plainLength } from "./plain_tokens.ts";
import { buildTrie, type TokenTrie } from "./token_trie.ts";
import type { GrammarVocabulary } from "./vocabulary.ts";

/** Everything about a vocabulary that does not depend on a grammar. */
export interface TokenTables {
  readonly vocabulary: GrammarVocabulary;
  /** Words of a mask. */
  readonly words: number;
  /** Tokens of up to so many plain characters, as masks: [{@link MOST_PLAIN} + 1]. */
  readonly plain: readonly Uint32Array[];
  readonly plainTrie: TokenTrie;
  /** All others. */
  readonly otherTrie: TokenTrie;
}

/** Prepares a vocabulary. */
export function tokenTables(vocabulary: GrammarVocabulary): TokenTables {
  const tokens = vocabulary.offsets.length - 1;
  const words = Math.ceil(tokens / 32);
  const lengths = Uint8Array.from({ length: tokens }, (_, token) => plainLength(vocabulary, token));
  const plain = Array.from({ length: MOST_PLAIN + 1 }, () => new Uint32Array(words));
  lengths.forEach((length, token) => {
    if (length > 0) plain[length][token >>> 5] |= 1 << (token & 31);
  });
  for (let most = 1; most <= MOST_PLAIN; most++) plain[most - 1].forEach((word, i) => plain[most][i] |= word);
  const some = (isPlain: boolean) => lengths.keys().filter((token) => (lengths[token] > 0) === isPlain);
  return { vocabulary, words, plain, plainTrie: buildTrie(vocabulary, some(true)), otherTrie: buildTrie(vocabulary, some(false)) };
}
