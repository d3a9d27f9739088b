/**
 * What is said to the thread that holds grammars, and what it answers.
 *
 * @module
 */

/** A model's vocabulary as grammars see it. */
export interface GrammarVocabulary {
  /** Text of every token in the GPT-2 byte alphabet; empty: never allowed. */
  readonly tokens: readonly string[];
  /** Tokens that end an answer: allowed where the grammar may end. */
  readonly stopTokens: readonly number[];
}

/** What an answer must look like. */
export type Grammar =
  /** Any JSON object. */
  | { readonly kind: "json_object" }
  /** JSON that fits a schema. @see strict: no properties that the schema does not name */
  | { readonly kind: "json_schema"; readonly schema: string; readonly strict: boolean }
  /** Text, in which tagged parts follow grammars of their own; xgrammar's structural tag as JSON. */
  | { readonly kind: "structural_tag"; readonly tag: string };

/** To the thread; each is answered once, in order, but for `close`. */
export type ToGrammarThread =
  | { readonly kind: "vocabulary"; readonly vocabulary: GrammarVocabulary }
  /** @see accepted tokens that the answer has already */
  | { readonly kind: "open"; readonly id: number; readonly grammar: Grammar; readonly accepted: readonly number[] }
  | { readonly kind: "accept"; readonly id: number; readonly token: number }
  | { readonly kind: "close"; readonly id: number };

/** From the thread. */
export type FromGrammarThread =
  | { readonly kind: "ready" }
  /** Tokens that may come next. */
  | { readonly kind: "mask"; readonly id: number; readonly mask: Uint32Array<ArrayBuffer> }
  | { readonly kind: "failed"; readonly id: number; readonly message: string };
