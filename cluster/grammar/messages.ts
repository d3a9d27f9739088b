/**
 * What is said to the thread that holds grammars, and what it answers.
 *
 * @module
 */
import type { GrammarVocabulary } from "./tokens/vocabulary.ts";

/** To the thread. */
export type ToGrammarThread =
  /** Comes first, and has no answer. */
  | { readonly kind: "vocabulary"; readonly vocabulary: GrammarVocabulary }
  /** Answers `ids` begin. @see grammar an AnswerGrammar as JSON. @see client who waits for it: clients take turns */
  | { readonly kind: "open"; readonly ids: readonly number[]; readonly grammar: string; readonly client: string }
  /** An answer goes on by one token. */
  | { readonly kind: "accept"; readonly id: number; readonly token: number }
  /** What may come behind each of these tokens, if an answer goes on by them when it has got `at` tokens. */
  | { readonly kind: "foresee"; readonly id: number; readonly at: number; readonly tokens: readonly number[] }
  /** Has no answer. */
  | { readonly kind: "close"; readonly id: number };

/** From the thread: one for every `open` and `foresee`, and one behind the last of all `accept` that have come, in any order. */
export type FromGrammarThread =
  /** Tokens that may come next, of answers that have got `at` tokens. */
  | { readonly kind: "mask"; readonly ids: readonly number[]; readonly at: number; readonly mask: Uint32Array<ArrayBuffer> }
  /** Of as many of the tokens that were asked for as may come; none where the answer has gone on, or where it would take too long. */
  | { readonly kind: "foreseen"; readonly ids: readonly [number]; readonly at: number; readonly masks: readonly Uint32Array<ArrayBuffer>[] }
  | {
    readonly kind: "failed";
    readonly ids: readonly number[];
    readonly message: string;
    readonly reason: GrammarFailure;
    /** Whether the parameters of a tool are to blame. */
    readonly ofTools: boolean;
  };

/** Whether what is wrong is the grammar, how much is open already, or this program. */
export type GrammarFailure = "invalid_request" | "overloaded" | "internal";
