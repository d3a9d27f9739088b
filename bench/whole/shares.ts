/**
 * Where a step goes, from what a server has counted before and after some.
 *
 * @module
 */
import { newStepParts, type StepParts } from "../../core/step_times.ts";
import type { StepShare } from "./result.ts";
import type { RankTotals, ServerTotals } from "./server.ts";

/** Parts that make up the whole of a step. */
const PARTS = ["record", "encode", "submit", "readback", "peer", "sum", "handoff", "rest"] as const;

/** Means per step between two looks at a server; null if there was none. */
export function shareOf(before: ServerTotals, after: ServerTotals): StepShare | null {
  const since = (of: (totals: ServerTotals) => number) => of(after) - of(before);
  const steps = since(({ steps }) => steps.steps);
  if (steps === 0) return null;
  const ranks = after.ranks.map((rank) => perStep(rank, before.ranks.find(({ name }) => name === rank.name))).filter((rank) => rank !== null);
  if (ranks.length === 0) return null;
  // A rank that waits for another is not the slow one.
  const slowest = ranks.reduce((most, rank) => ownMs(rank.parts) > ownMs(most.parts) ? rank : most);
  const mean = (of: (totals: ServerTotals) => number) => since(of) / steps;
  return {
    steps,
    stepMs: mean(({ steps }) => steps.totalMs + steps.betweenMs),
    betweenMs: mean(({ steps }) => steps.betweenMs),
    askingMs: mean(({ steps }) => steps.totalMs - steps.workerMs),
    workerMs: mean(({ steps }) => steps.workerMs),
    rank: slowest.name,
    parts: slowest.parts,
    sums: slowest.sums,
    tellMs: mean(({ steps }) => steps.tellMs),
  };
}

interface RankShare {
  readonly name: string;
  readonly parts: Omit<StepParts, "steps">;
  readonly sums: number;
}

/** Means of one rank; null if it has done nothing. */
function perStep({ name, parts: after, sums }: RankTotals, then: RankTotals | undefined): RankShare | null {
  const before = then?.parts ?? newStepParts();
  const count = after.steps - before.steps;
  if (count === 0) return null;
  const { steps: _, ...parts } = newStepParts();
  for (const part of Object.keys(parts) as (keyof typeof parts)[]) {
    const [last, first] = [after[part], before[part]];
    if (last !== null) parts[part] = (last - (first ?? 0)) / count;
  }
  return { name, parts, sums: (sums - (then?.sums ?? 0)) / count };
}

/** All of a rank's step. */
export function wholeMs(parts: RankShare["parts"]): number {
  return PARTS.reduce((sum, part) => sum + parts[`${part}Ms`], 0);
}

/** Without waiting for others. */
function ownMs(parts: RankShare["parts"]): number {
  return wholeMs(parts) - parts.peerMs;
}
