/**
 * Which drafts a step computes, and how much of each: as many rows as bring the most tokens for the time that they take.
 *
 * @module
 */
import { INDEXED_PER_STEP } from "../../core/speculation/ngram_drafts.ts";
import type { Draft } from "../../core/speculation/speculator.ts";
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

/** One for each placement, in order; each is asked about in this step. */
export function chooseDrafts(placements: readonly Placement[], { rows, most, costs }: StepWithoutDrafts): ChosenDraft[] {
  const budget = { tokens: INDEXED_PER_STEP };
  const drafts = placements.map(({ sequence }) => {
    const left = sequence.mostTokens - sequence.generated.length - 1;
    return rows < most && left > 0 ? sequence.drafts?.propose(Math.min(left, most - rows), budget) ?? null : null;
  });
  // A token is worth nothing where one before it is wrong, so that the likeliest ones are the first ones of each draft.
  const tokens = drafts.flatMap((draft, at) => draft?.tokens.map((_, i) => ({ at, probability: draft.probability ** (i + 1) })) ?? []);
  const counts = placements.map(() => 0);
  const best = tokens.sort((a, b) => b.probability - a.probability).slice(0, most - rows);
  for (const { at } of best.slice(0, worthwhile(best.map(({ probability }) => probability), { expected: placements.length, rows, costs }))) {
    counts[at]++;
  }
  return drafts.map((draft, i) => ({ draft, count: counts[i] }));
}

/** How many of the likeliest tokens are computed. @param expected tokens that come without them */
function worthwhile(
  probabilities: readonly number[],
  { expected, rows, costs }: { readonly expected: number; readonly rows: number; readonly costs: StepCosts },
): number {
  const times = probabilities.length === 0 ? null : costs.expected(rows, rows + probabilities.length);
  if (times === null) return 0;
  let [best, bestRate, tokens] = [0, expected / times[0], expected];
  probabilities.forEach((probability, i) => {
    tokens += probability;
    const rate = tokens / times[i + 1];
    if (rate > bestRate) [best, bestRate] = [i + 1, rate];
  });
  return best;
}
