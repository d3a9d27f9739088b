/**
 * Which step most likely follows another.
 *
 * @module
 */
import type { Step } from "../forward/context.ts";

/**
 * The rows whose next tokens were asked for, each behind all of its sequence: drafts as long as the last ones, if those were right. null if there is no such step.
 * Its tokens are not known yet.
 *
 * @param asked how many of the last rows that were
 */
export function anticipatedStep({ rows }: Step, asked: number, maxContext: number): Step | null {
  const last = rows.slice(rows.length - asked);
  const own = Map.groupBy(last, ({ sequence }) => sequence);
  const next = last.map(({ position, sequence }) => ({ token: 0, position: position + own.get(sequence)!.length, sequence }));
  return next.length === 0 || next.some(({ position }) => position >= maxContext) ? null : { phase: "decode", rows: next };
}
