/**
 * Which drafts a step computes, and how much of each: as many rows as bring the most tokens for the time that they take.
 *
 * @module
 */
import { INDEXED_PER_STEP } from "../../core/speculation/ngram_drafts.ts";
import type { Draft } from "../../core/speculation/draft_source.ts";
import type { StepCosts } from "../../core/speculation/step_costs.ts";
import type { Placement } from "./state.ts";

/** What is computed of a draft. */
export interface ChosenDraft {
  /** null: nothing was proposed. */
  readonly draft: Draft | null;
  /** Tokens of it. */
  readonly count: number;
}

/** Of a step without drafts. */
export interface StepWithoutDrafts {
  /** Its rows, one for each placement among them. */
  readonly rows: number;
  /** Most rows. */
  readonly most: number;
  readonly costs: StepCosts;
}

/** How many times as long a step may take for drafts where others that have none wait for it. */
const MOST_FOR_OTHERS = 1.5;

/** How many times as many tokens drafts must bring for the time, to be worth the uneven pace. */
const LEAST_GAIN = 1.05;

/** One for each placement, in order; each is asked about in this step. */
export function chooseDrafts(placements: readonly Placement[], { rows, most, costs }: StepWithoutDrafts): ChosenDraft[] {
  const budget = { tokens: INDEXED_PER_STEP };
  const drafts = placements.map(({ sequence }) => {
    const left = sequence.mostTokens - sequence.generated.length - 1;
    return rows < most && left > 0 ? sequence.drafts?.propose(Math.min(left, most - rows), budget) ?? null : null;
  });
  // A token is worth nothing where one before it is wrong, so that the likeliest ones are the first ones of each draft.
  const tokens = drafts.flatMap((draft, at) => draft?.tokens.map((_, i) => ({ at, probability: draft.probability ** (i + 1) })) ?? []);
  const best = tokens.sort((a, b) => b.probability - a.probability).slice(0, most - rows);
  const probabilities = best.map(({ probability }) => probability);
  const countsFor = (mostTime: number) => {
    const counts = placements.map(() => 0);
    for (const { at } of best.slice(0, worthwhile(probabilities, { expected: placements.length, rows, costs, mostTime }))) counts[at]++;
    return counts;
  };
  const free = countsFor(Infinity);
  // Who has no draft of its own in this step waits for those of others.
  const counts = free.includes(0) ? countsFor(MOST_FOR_OTHERS) : free;
  return drafts.map((draft, i) => ({ draft, count: counts[i] }));
}

/** How many of the likeliest tokens are computed. @param step.expected tokens that come without them @param step.mostTime in steps without them */
function worthwhile(
  probabilities: readonly number[],
  { expected, rows, costs, mostTime }: Pick<StepWithoutDrafts, "rows" | "costs"> & { readonly expected: number; readonly mostTime: number },
): number {
  const times = probabilities.length === 0 ? null : costs.expected(rows, rows + probabilities.length);
  if (times === null) return 0;
  let [best, bestRate, tokens] = [0, expected / times[0] * LEAST_GAIN, expected];
  probabilities.forEach((probability, i) => {
    tokens += probability;
    const rate = tokens / times[i + 1];
    if (rate > bestRate && times[i + 1] <= times[0] * mostTime) [best, bestRate] = [i + 1, rate];
  });
  return best;
}
