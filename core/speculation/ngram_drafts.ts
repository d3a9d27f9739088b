/**
 * Drafts without a second model: what followed the last tokens when they last occurred, in the prompt, in the answer (prompt lookup decoding), or in what the answer is
 * expected to be like.
 *
 * @module
 */
import { AnswerIndex, type IndexBudget, type NgramDraft, PromptIndex } from "./ngram_index.ts";

/** What the first tokens of what is expected count as, in tokens that matched. */
const AS_EXPECTED = 8;

/** What a step may take in: some tenths of a millisecond. */
export const INDEXED_PER_STEP: number = 1 << 14;

/** The tokens of one sequence, indexed by each three in a row. */
export class NgramDrafts {
  readonly #expected: readonly number[];
  readonly #prompt: PromptIndex;
  readonly #answer: number[] = [];
  /** Tokens of what is expected that came, as long as no others did; null: others did. */
  #asExpected: number | null = 0;
  #index: AnswerIndex | null = null;

  /** @param expected what the answer may be like, apart from changes; default: nothing is expected. Sequences with the same arrays share what is made of them. */
  constructor(prompt: readonly number[], expected: readonly number[] = NOTHING) {
    this.#prompt = PromptIndex.of(prompt, expected);
    this.#expected = expected;
  }

  /** The answer goes on. */
  push(token: number): void {
    this.#answer.push(token);
    if (this.#asExpected !== null) this.#asExpected = token === this.#expected[this.#asExpected] ? this.#asExpected + 1 : null;
  }

  /**
   * What came after the longest match of the last tokens, the latest of equals; null: nothing matches, or not everything is taken in yet.
   *
   * @param most tokens of it
   * @param budget of what is taken in before, which it lessens
   */
  draft(most: number, budget: IndexBudget): NgramDraft | null {
    if (most < 1) return null;
    const at = this.#asExpected;
    if (at !== null && at < this.#expected.length) return { tokens: this.#expected.slice(at, at + most), matched: Math.max(AS_EXPECTED, at) };
    return this.#catchUp(budget) ? this.#index!.draft(most) : null;
  }

  /** @returns whether everything is taken in */
  #catchUp(budget: IndexBudget): boolean {
    if (!this.#prompt.catchUp(budget)) return false;
    this.#index ??= new AnswerIndex(this.#prompt);
    return this.#index.catchUp(this.#answer, budget);
  }
}

/** One array, as indexes are known by theirs. */
const NOTHING: readonly number[] = [];
