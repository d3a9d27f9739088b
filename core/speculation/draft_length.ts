/**
 * How many tokens a layer of the model drafts before a step: as many as bring the most tokens for the time that drafting and verifying them takes.
 *
 * @module
 */
import { MOST_HEAD_DRAFTED } from "./head_drafts.ts";
import type { StepCosts } from "./step_costs.ts";

/** How many times as many tokens drafts must bring for the time, to be worth the uneven pace. */
const LEAST_GAIN = 1.05;

/** What drafting a token is thought to take before it is known, in steps. */
const FIRST_GUESS = 0.15;

/** What is known of a unit. */
export interface DraftCosts {
  /** What its steps take, by their rows. */
  readonly steps: StepCosts;
  /** What drafting a token takes, by the rows that it is done for. */
  readonly drafts: StepCosts;
}

/** Decides for one unit. */
export class DraftLength {
  readonly #costs: DraftCosts;

  constructor(costs: DraftCosts) {
    this.#costs = costs;
  }

  /**
   * Tokens for each sequence of a step.
   *
   * @param expected of each, how likely a token is right
   * @param most rows of a step
   */
  choose(expected: readonly number[], most: number): number {
    const rows = expected.length;
    const longest = Math.min(MOST_HEAD_DRAFTED, Math.floor(most / rows) - 1);
    if (longest < 1) return 0;
    const steps = this.#costs.steps.expected(rows, rows * (1 + longest));
    if (steps === null) return 0;
    const draft = this.#costs.drafts.expected(rows, rows)?.[0] ?? steps[0] * FIRST_GUESS;
    let [best, bestRate, tokens] = [0, rows / steps[0] * LEAST_GAIN, rows];
    for (let length = 1; length <= longest; length++) {
      for (const probability of expected) tokens += probability ** length;
      const rate = tokens / (steps[rows * length] + draft * length);
      if (rate > bestRate) [best, bestRate] = [length, rate];
    }
    return best;
  }
}
