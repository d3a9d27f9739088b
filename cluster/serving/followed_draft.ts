/**
 * A sequence's answers of one step: that about its last token, and those behind a draft, which count as long as the draft is what was chosen.
 *
 * @module
 */
import type { LogitsAnswer } from "../../core/generation.ts";
import type { DraftAccounts } from "../scheduler/draft_accounts.ts";
import type { Sequence } from "../scheduler/state.ts";
import type { Asking } from "../scheduler/step_planner.ts";

/** Goes from answer to answer. */
export class FollowedDraft {
  readonly sequence: Sequence;
  readonly #asking: Asking;
  readonly #first: number;
  readonly #generated: number;
  /** Tokens of the draft that were right. */
  #accepted = 0;

  /** @param first of its answers, among those of the step */
  constructor(asking: Asking, sequence: Sequence, first: number) {
    this.#asking = asking;
    this.sequence = sequence;
    this.#first = first;
    this.#generated = sequence.generated.length;
  }

  /** The answer that is next, among those of the step. */
  get index(): number {
    return this.#first + this.#accepted;
  }

  /**
   * Takes tokens from answers.
   *
   * @param take chooses a token from an answer, if the sequence still wants one; false: the answer does not suffice
   * @returns false if an answer, the one at {@link index}, does not suffice
   */
  follow(answers: readonly LogitsAnswer[], drafts: DraftAccounts, take: (answer: LogitsAnswer) => boolean): boolean {
    do if (!take(answers[this.index])) return false; while (this.goesOn(drafts));
    return true;
  }

  /** Whether the token that was chosen from the last answer is the draft's, so that another answer counts. */
  goesOn(drafts: DraftAccounts): boolean {
    const { sequence: { generated } } = this;
    const { drafted } = this.#asking;
    const at = this.#accepted;
    // Of one that has ended, nothing was chosen.
    const right = at < drafted.length && generated.length === this.#generated + at + 1 && generated[this.#generated + at] === drafted[at];
    if (right) this.#accepted++;
    if (right && drafts.accepted(this.#asking, at)) return true;
    drafts.settled(this.#asking, this.#accepted);
    return false;
  }
}
