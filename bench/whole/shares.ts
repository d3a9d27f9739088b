/**
 * Where a step and a prompt go, from what a server has counted before and after some.
 *
 * @module
 */
import { newStepParts, STEP_PARTS } from "../../core/step_times.ts";
import type { PartsOfOne, PromptShare, StepShare } from "./result.ts";
import type { RankTotals, ServerTotals } from "./server.ts";

/** Means per step between two readings of a server; null if there was none. */
export function shareOf(before: ServerTotals, after: ServerTotals): StepShare | null {
  const steps = after.steps.steps - before.steps.steps;
  const ranks = after.decode.map((rank) => since(rank, before.decode)).filter((rank) => rank !== null);
  if (steps === 0 || ranks.length === 0) return null;
  // A rank that waits for another is not the slow one.
  const slowest = ranks.reduce((most, rank) => ownMs(rank) > ownMs(most) ? rank : most);
  const mean = (of: (totals: ServerTotals) => number) => (of(after) - of(before)) / steps;
  return {
    steps,
    stepMs: mean(({ steps }) => steps.totalMs + steps.betweenMs),
    betweenMs: mean(({ steps }) => steps.betweenMs),
    askingMs: mean(({ steps }) => steps.totalMs - steps.workerMs),
    workerMs: mean(({ steps }) => steps.workerMs),
    rank: slowest.name,
    parts: over(slowest.parts, slowest.count),
    sums: slowest.sums / slowest.count,
    tellMs: mean(({ steps }) => steps.tellMs),
  };
}

/** Means per prompt between two readings, of the prefill worker that was busy longest; null if there was none. @param prompts that were computed meanwhile */
export function promptShareOf(before: ServerTotals, after: ServerTotals, prompts: number): PromptShare | null {
  const ranks = after.prefill.map((rank) => since(rank, before.prefill)).filter((rank) => rank !== null);
  if (ranks.length === 0) return null;
  const { name, parts, count } = ranks.reduce((most, rank) => wholeMs(rank.parts) > wholeMs(most.parts) ? rank : most);
  return { rank: name, chunks: count / prompts, parts: over(parts, prompts) };
}

/** What one worker has done meanwhile. */
interface Meanwhile {
  readonly name: string;
  readonly parts: PartsOfOne;
  readonly count: number;
  readonly sums: number;
}

/** Null if it has done nothing, or is not the one that it was. */
function since({ name, parts: after, sums }: RankTotals, before: readonly RankTotals[]): Meanwhile | null {
  const then = before.find((rank) => rank.name === name);
  const { steps: first, ...earlier } = then?.parts ?? newStepParts();
  const { steps: last, ...later } = after;
  if (last <= first) return null;
  return { name, parts: combine(later, earlier, (last, first) => last - first), count: last - first, sums: sums - (then?.sums ?? 0) };
}

function over(parts: PartsOfOne, count: number): PartsOfOne {
  return combine(parts, parts, (part) => part / count);
}

function combine(a: PartsOfOne, b: PartsOfOne, f: (a: number, b: number) => number): PartsOfOne {
  return Object.fromEntries(
    Object.entries(a).map(([name, part]) => [name, part === null ? null : f(part, b[name as keyof PartsOfOne] ?? 0)]),
  ) as unknown as PartsOfOne;
}

/** All that parts make up. */
export function wholeMs(parts: PartsOfOne): number {
  return STEP_PARTS.reduce((sum, part) => sum + parts[`${part}Ms`], 0);
}

/** Without waiting for others. */
function ownMs({ parts, count }: Meanwhile): number {
  return (wholeMs(parts) - parts.peerMs) / count;
}
