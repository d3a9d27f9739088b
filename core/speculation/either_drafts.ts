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
  /** Who has made a draft, and which one it was preferred to. */
  readonly #chosen = new WeakMap<Draft, { readonly maker: DraftSource; readonly other: DraftSource; readonly passedOver: Draft | null }>();

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
    if (expectedOf(drafted) > expectedOf(said)) {
      this.#chosen.set(drafted!, { maker: this.head, other: this.#said, passedOver: said });
      return drafted;
    }
    if (said !== null) this.#chosen.set(said, { maker: this.#said, other: this.head, passedOver: drafted });
    return said;
  }

  settle(draft: Draft, drafted: number, accepted: number): void {
    const chosen = this.#chosen.get(draft);
    chosen?.maker.settle(draft, drafted, accepted);
    // What was not tried gets another chance some day.
    if (chosen?.passedOver != null) chosen.other.settle(chosen.passedOver, 0, 0);
  }
}

/** Tokens that a draft is likely to bring. */
function expectedOf(draft: Draft | null): number {
  if (draft === null) return 0;
  return draft.tokens.reduce((sum, _, i) => sum + draft.probability ** (i + 1), 0);
}
