/**
 * Who guesses tokens, as the planner of steps sees it.
 *
 * @module
 */
import type { IndexBudget } from "./ngram_index.ts";

/** Most tokens of a draft. */
export const MOST_DRAFTED = 16;

/** Tokens that may come next, and how likely each of them does where those before it do. */
export interface Draft {
  readonly tokens: readonly number[];
  readonly probability: number;
  /** What those who made it learn of it by, see {@link Acceptance}. */
  readonly value: number;
}

/** What the planner of steps asks. */
export interface DraftSource {
  /** Takes drafts in that the model's own layer makes between steps; absent or undefined: none are wanted. */
  readonly head?: HeadDraftSink;
  /** The sequence goes on. */
  push(token: number): void;
  /** Finds out what has to be known before something is proposed; null: nothing. Asked when the sequence has got all tokens of a step. @param budget as of {@link propose} */
  foresee?(budget: IndexBudget): Promise<void> | null;
  /** What may come next; null: no idea. @param budget of what is taken in before, which it lessens */
  propose(most: number, budget: IndexBudget): Draft | null;
  /** What became of a draft: how many of its tokens were computed, and how many of those were right. */
  settle(draft: Draft, drafted: number, accepted: number): void;
}

/** A token that a layer of the model has drafted, and how probable it thinks it is. */
export interface HeadToken {
  readonly token: number;
  readonly probability: number;
}

/** What whoever asks that layer between steps needs to know of a sequence, and tells it. */
export interface HeadDraftSink {
  /** How likely a token is right that has not been drafted yet. */
  readonly expected: number;
  /** Nothing is drafted this time: what is thought little of gets another chance some day. */
  skip(): void;
  /** The layer has drafted what may follow the last token. */
  offer(tokens: readonly HeadToken[]): void;
}
