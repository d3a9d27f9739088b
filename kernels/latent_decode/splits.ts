/**
 * How decode attention splits a sequence. The size of a split depends only on the row's own context length, so that its result does not depend on
 * what else is in the batch.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../core/numeric.ts";

/**
 * Most splits of one row. Workgroups run in waves, and the last one is seldom full: 48 splits of 16 rows are 768 workgroups, 1.94 waves of the 396 that an H100 or
 * H200 holds, where 64 splits would be 2.6 (bench/NOTES.md).
 */
export const MOST_SPLITS = 48;
/** Splits are whole multiples of this, which is at least a tile of latents. Short ones give one sequence alone enough workgroups. */
const LEAST_TOKENS = 32;

/** Tokens per split of a row that attends to `context` tokens. */
export function splitTokens(context: number): number {
  return roundUp(ceilDiv(context, MOST_SPLITS), LEAST_TOKENS);
}

/** Splits of such a row. */
export function splitCount(context: number): number {
  return ceilDiv(context, splitTokens(context));
}

/** Floats that a split leaves of one (row, head): sums of values, largest score, sum of weights; whole multiples of 16 bytes, as matrices are stored. */
export function partialWidth(valueWidth: number): number {
  return roundUp(valueWidth + 2, 4);
}

/** `split_tokens(context)` in WGSL. */
export const SPLITS_WGSL = `
const MOST_SPLITS = ${MOST_SPLITS}u;
fn split_tokens(context: u32) -> u32 {
  let tokens = (context + MOST_SPLITS - 1u) / MOST_SPLITS;
  return (tokens + ${LEAST_TOKENS - 1}u) / ${LEAST_TOKENS}u * ${LEAST_TOKENS}u;
}
`;
