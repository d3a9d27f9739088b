/**
 * A served model's vocabulary as grammars see it.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import { characterOfByte } from "../../core/text/byte_alphabet.ts";
import type { GrammarVocabulary } from "./messages.ts";

/** @param kept special tokens that are text to grammars, such as markers of tool calls */
export function grammarVocabulary({ tokenizer, vocabSize, eosTokens }: ServedModel, kept: ReadonlySet<number>): GrammarVocabulary {
  const tokens = Array.from({ length: vocabSize }, (_, token) => {
    if (tokenizer.isSpecial(token) && !kept.has(token)) return "";
    return Array.from(tokenizer.bytesOf(token), characterOfByte).join("");
  });
  return { tokens, stopTokens: eosTokens };
}
