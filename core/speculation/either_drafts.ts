/**
 * Drafts in every way there is: of each step the one that is likely to bring more.
 *
 * @module
 */
import { HeadDrafts } from "./head_drafts.ts";
import type { IndexBudget } from "./ngram_index.ts";
import type { Draft, DraftSource } from "./draft_source.ts";
import type { Speculator } from "./speculator.ts";

/** Of one sequence: from what it has said before, and by a layer of the model. */
export class EitherDrafts implements DraftSource {
  readonly head: HeadDrafts;
  readonly #said: Speculator;
  readonly #makers = new WeakMap<Draft, DraftSource>();

  constructor(said: Speculator, head: HeadDrafts = new HeadDrafts()) {
    this.#said = said;
    this.head = head;
  }

  push(token: number): void {
    this.#said.push(token);
    this.head.push();
  }

  propose(most: number, budget: IndexBudget): Draft | null {
    const [said, drafted] = [this.#said.propose(most, budget), this.head.propose(most)];
    const best = expectedOf(drafted) > expectedOf(said) ? drafted : said;
    if (best !== null) this.#makers.set(best, best === said ? this.#said : this.head);
    return best;
  }

  settle(draft: Draft, drafted: number, accepted: number): void {
    this.#makers.get(draft)?.settle(draft, drafted, accepted);
  }
}

/** Tokens that a draft is likely to bring. */
function expectedOf(draft: Draft | null): number {
  if (draft === null) return 0;
  return draft.tokens.reduce((sum, _, i) => sum + draft.probability ** (i + 1), 0);
}
