/**
 * Drafts of a sequence whose tokens a grammar restricts: what may come behind each of their tokens has to be found out before they can be tried.
 *
 * @module
 */
import type { TokenConstraint } from "../engine.ts";
import type { IndexBudget } from "./ngram_index.ts";
import { type Draft, type DraftSource, type HeadDraftSink, MOST_DRAFTED } from "./draft_source.ts";

/** A grammar that can be asked about what is ahead. */
export type ForeseeingConstraint = TokenConstraint & Required<Pick<TokenConstraint, "foresight" | "maskBehind">>;

/** Whether a constraint is one of these; others allow what they do whatever comes, or know nothing in advance. */
export function canForesee(constraint: TokenConstraint | undefined): constraint is ForeseeingConstraint {
  return constraint?.foresight !== undefined && constraint.maskBehind !== undefined;
}

/** Offers as much of another's drafts as its grammar is known to allow. */
export class ForeseenDrafts implements DraftSource {
  readonly #drafts: DraftSource;
  readonly #constraint: ForeseeingConstraint;
  #draft: Draft | null = null;

  constructor(drafts: DraftSource, constraint: ForeseeingConstraint) {
    this.#drafts = drafts;
    this.#constraint = constraint;
  }

  get head(): HeadDraftSink | undefined {
    return this.#drafts.head;
  }

  push(token: number): void {
    this.#draft = null;
    this.#drafts.push(token);
  }

  foresee(budget: IndexBudget): Promise<void> | null {
    this.#draft = this.#drafts.propose(MOST_DRAFTED, budget);
    return this.#draft === null ? null : this.#constraint.foresight.foresee(this.#draft.tokens);
  }

  propose(most: number, _budget: IndexBudget): Draft | null {
    const known = Math.min(most, this.#constraint.foresight.known);
    return this.#draft === null || known === 0 ? null : { ...this.#draft, tokens: this.#draft.tokens.slice(0, known) };
  }

  settle(draft: Draft, drafted: number, accepted: number): void {
    this.#drafts.settle(draft, drafted, accepted);
  }
}
