/**
 * What becomes of drafts: counted, charged to whom they were for, and learned from.
 *
 * @module
 */
import type { SchedulerCounters } from "./plan.ts";
import type { Asking } from "./step_planner.ts";

/** Of all sequences of a scheduler. */
export class DraftAccounts {
  readonly #counters: SchedulerCounters;
  readonly #charge: (client: string, tokens: number) => void;

  /** @param charge told of a client, and how many tokens were computed for him besides those of steps */
  constructor(counters: SchedulerCounters, charge: (client: string, tokens: number) => void) {
    this.#counters = counters;
    this.#charge = charge;
  }

  /**
   * The token that was chosen is the one that was computed behind the last one: its latents are there, and so is what was asked behind it.
   *
   * @param at its place in the draft
   * @returns false if the sequence has lost the place where they are, or has ended
   */
  accepted({ placement }: Asking, at: number): boolean {
    this.#counters.accepted[at] = (this.#counters.accepted[at] ?? 0) + 1;
    if (!placement.alive || placement.released) return false;
    placement.length++;
    return true;
  }

  /** All of an answer was taken. @param accepted how many tokens of the draft were right */
  settled({ placement, draft, drafted }: Asking, accepted: number): void {
    if (draft === null) return;
    drafted.forEach((_, at) => this.#counters.drafted[at] = (this.#counters.drafted[at] ?? 0) + 1);
    // Right or wrong, they were computed.
    this.#charge(placement.sequence.client, drafted.length);
    placement.sequence.drafts?.settle(draft, drafted.length, accepted);
  }
}
