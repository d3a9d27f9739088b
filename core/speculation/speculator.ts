/**
 * Drafts of one sequence, and what is known of how well they do. A step computes a draft's tokens beside the one that is next; as many as the model would have chosen
 * itself are kept, which changes nothing but how many come at a time.
 *
 * @module
 */
import { Acceptance } from "./acceptance.ts";
import { type Draft, type DraftSource, MOST_DRAFTED } from "./draft_source.ts";
import { NgramDrafts } from "./ngram_drafts.ts";
import type { IndexBudget } from "./ngram_index.ts";

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
