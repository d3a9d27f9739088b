/**
 * A served model's vocabulary as grammars see it.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import type { GrammarVocabulary } from "./tokens/vocabulary.ts";

/** Milliseconds after which others get their turn. */
const TURN = 2;
/** Tokens between two readings of the clock. */
const STRIDE = 64;

/**
 * The bytes of all tokens. It takes a fraction of a second in all, a little at a time.
 *
 * @param kept special tokens that are text to grammars, such as markers of tool calls
 */
export async function grammarVocabulary({ tokenizer, vocabSize, eosTokens }: ServedModel, kept: ReadonlySet<number>): Promise<GrammarVocabulary> {
  let bytes = new Uint8Array(vocabSize * 8);
  const offsets = new Uint32Array(vocabSize + 1);
  let until = performance.now() + TURN;
  for (let token = 0; token < vocabSize; token++) {
    const text = tokenizer.isSpecial(token) && !kept.has(token) ? new Uint8Array() : tokenizer.bytesOf(token);
    const end = offsets[token + 1] = offsets[token] + text.length;
    if (end > bytes.length) {
      const more = new Uint8Array(2 * end);
      more.set(bytes);
      bytes = more;
    }
    bytes.set(text, offsets[token]);
    if (token % STRIDE === 0 && performance.now() > until) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      until = performance.now() + TURN;
    }
  }
  return { bytes: bytes.slice(0, offsets[vocabSize]), offsets, stopTokens: eosTokens };
}
