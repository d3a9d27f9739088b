/**
 * Which step most likely follows another.
 *
 * @module
 */
import type { Step } from "../forward/context.ts";

/**
 * The rows whose next tokens were asked for, one position further; null if there is no such step. Its tokens are not known yet.
 *
 * @param asked how many of the last rows that were
 */
export function anticipatedStep({ rows }: Step, asked: number, maxContext: number): Step | null {
  const next = rows.slice(rows.length - asked).map(({ position, sequence }) => ({ token: 0, position: position + 1, sequence }));
  return next.length === 0 || next.some(({ position }) => position >= maxContext) ? null : { phase: "decode", rows: next };
}
