/**
 * What becomes of drafts: counted, charged to whom they were for, and learned from.
 *
 * @module
 */
import type { SchedulerCounters } from "./plan.ts";
import type { Placement } from "./state.ts";
import type { Asking } from "./step_planner.ts";

/** Told of what comes of drafts. */
export interface DraftListener {
  /** So many tokens were computed for a client besides those of steps. */
  charge(client: string, tokens: number): void;
  /** Nothing is drafted for a placement any more. */
  settle(placement: Placement): void;
}

/** Of all sequences of a scheduler. */
export class DraftAccounts {
  readonly #counters: SchedulerCounters;
  readonly #told: DraftListener;

  constructor(counters: SchedulerCounters, told: DraftListener) {
    this.#counters = counters;
    this.#told = told;
  }

  /** Something is drafted for placements of a step that is done: their blocks stay until it is there. @returns what to call then, whatever has become of it */
  hold(placements: readonly Placement[]): () => void {
    for (const placement of placements) placement.uses++;
    return () => {
      for (const placement of placements) {
        placement.uses--;
        this.#told.settle(placement);
      }
    };
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
    this.#told.charge(placement.sequence.client, drafted.length);
    placement.sequence.drafts?.settle(draft, drafted.length, accepted);
  }
}
