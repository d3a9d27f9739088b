/**
 * Drafts of one sequence, and what is known of how well they do. A step computes a draft's tokens beside the one that is next; as many as the model would have chosen
 * itself are kept, which changes nothing but how many come at a time.
 *
 * @module
 */
import { Acceptance } from "./acceptance.ts";
import type { HeadDrafts } from "./head_drafts.ts";
import { NgramDrafts } from "./ngram_drafts.ts";
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
  readonly head?: HeadDrafts;
  /** The sequence goes on. */
  push(token: number): void;
  /** Finds out what has to be known before something is proposed; null: nothing. Asked when the sequence has got all tokens of a step. @param budget as of {@link propose} */
  foresee?(budget: IndexBudget): Promise<void> | null;
  /** What may come next; null: no idea. @param budget of what is taken in before, which it lessens */
  propose(most: number, budget: IndexBudget): Draft | null;
  /** What became of a draft: how many of its tokens were computed, and how many of those were right. */
  settle(draft: Draft, drafted: number, accepted: number): void;
}

/** Drafts from a sequence's own prompt and answer, and from what its client expects. */
export class Speculator implements DraftSource {
  readonly #ngrams: NgramDrafts;
  readonly #acceptance = new Acceptance();

  /** @param expected what the answer may be like */
  constructor(prompt: readonly number[], expected?: readonly number[]) {
    this.#ngrams = new NgramDrafts(prompt, expected);
  }

  push(token: number): void {
    this.#ngrams.push(token);
  }

  propose(most: number, budget: IndexBudget): Draft | null {
    const draft = this.#ngrams.draft(Math.min(most, MOST_DRAFTED), budget);
    if (draft === null) return null;
    const { tokens, matched: value } = draft;
    return { tokens, value, probability: this.#acceptance.of(value) };
  }

  settle({ value }: Draft, drafted: number, accepted: number): void {
    this.#acceptance.note(value, drafted, accepted);
  }
}
