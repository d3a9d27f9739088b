/**
 * Which step most likely follows another.
 *
 * @module
 */
import type { Step } from "./context.ts";
import type { CandidatesQuery } from "./logits_head.ts";
import type { Model } from "./model.ts";

/**
 * The rows whose next tokens were asked for, one position further; null if there is no such step. Its tokens are not known yet.
 *
 * @param asked how many of the last rows that were
 */
export function nextStep({ rows }: Step, asked: number, maxContext: number): Step | null {
  const next = rows.slice(rows.length - asked).map(({ position, sequence }) => ({ token: 0, position: position + 1, sequence }));
  return next.length === 0 || next.some(({ position }) => position >= maxContext) ? null : { phase: "decode", rows: next };
}

/** While the device of a model that is alone works on a step: says that the next one follows, of whose rows the same is asked. */
export function anticipateNext(model: Model, step: Step, queries: readonly CandidatesQuery[]): void {
  const next = nextStep(step, queries.length, model.cache.maxContext);
  if (next === null) return;
  model.anticipate(() => {
    model.record(next);
    model.head.recordOutline("decode", 0, queries);
  });
}
