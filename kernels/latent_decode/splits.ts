/**
 * How decode attention splits a sequence. The size of a split depends only on the row's own context length, so that its result does not depend on
 * what else is in the batch.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";

/** Most splits of one row. */
export const MOST_SPLITS = 64;
/** Short splits give one sequence alone enough workgroups. */
const LEAST_TOKENS = 32;

/** Tokens per split of a row that attends to `context` tokens. */
export function splitTokens(context: number): number {
  let tokens = LEAST_TOKENS;
  while (tokens * MOST_SPLITS < context) tokens *= 2;
  return tokens;
}

/** Splits of such a row. */
export function splitCount(context: number): number {
  return ceilDiv(context, splitTokens(context));
}

/** `split_tokens(context)` in WGSL. */
export const SPLITS_WGSL = `
const MOST_SPLITS = ${MOST_SPLITS}u;
fn split_tokens(context: u32) -> u32 {
  var tokens = ${LEAST_TOKENS}u;
  while (tokens * MOST_SPLITS < context) {
    tokens *= 2u;
  }
  return tokens;
}
`;
