/**
 * How decode attention splits a sequence. What is in a split depends only on the row's own context length, so that its result does not depend on
 * what else is in the batch.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../core/numeric.ts";

/** How rows are split. */
export interface Splitting {
  /** Splits of a row that is neither short nor long. */
  readonly usualSplits: number;
  /** Most splits of one row, {@link usualSplits} times a power of two: a long row has twice as many, and so on. */
  readonly mostSplits: number;
  /** Fewest tokens of a split of a row that has more than {@link usualSplits}. */
  readonly longTokens: number;
  /**
   * Tokens that lie together in a split: the splits of a row take turns, strip by strip, which makes them equally long. A block of the cache holds whole strips.
   * Short ones give a short sequence more workgroups.
   */
  readonly stripTokens: number;
}

/** Where nothing speaks for another. */
export const DEFAULT_SPLITTING: Splitting = { usualSplits: 48, mostSplits: 48, longTokens: 0, stripTokens: 32 };

/** Tokens that a row attends to, as kernels read it from its words of a step: those up to its position. None where that is 2³² - 1. */
export function contextOf(step: Uint32Array, row: number): number {
  return (step[row * 4 + 1] + 1) >>> 0;
}

/** Splits of a row that attends to `context` tokens. */
export function splitCount(context: number, { usualSplits, mostSplits, longTokens, stripTokens }: Splitting): number {
  let splits = Math.min(usualSplits, ceilDiv(context, stripTokens));
  while (splits >= usualSplits && splits < mostSplits && context >= 2 * splits * longTokens) splits *= 2;
  return splits;
}

/** Positions that a split attends to, in order. */
export function* splitPositions(split: number, context: number, splitting: Splitting): Generator<number> {
  const { stripTokens } = splitting;
  const step = splitCount(context, splitting) * stripTokens;
  for (let strip = split * stripTokens; strip < context; strip += step) {
    for (let position = strip; position < Math.min(context, strip + stripTokens); position++) yield position;
  }
}

/**
 * Floats that a split leaves of one (row, head): sums of values, largest score, sum of weights. Whole multiples of 32 bytes, which is what memory takes at a time:
 * rows of matrices that begin between two of them take twice as long to store.
 */
export function partialWidth(valueWidth: number): number {
  return roundUp(valueWidth + 2, 8);
}

/**
 * The same in WGSL: `split_count(context)`; `split_tokens(split, splits, context)`, how many tokens a split attends to; `position_of(split, splits, token)`,
 * where one of them is.
 */
export function splitsWgsl({ usualSplits, mostSplits, longTokens, stripTokens }: Splitting): string {
  const doublings = Array.from({ length: Math.log2(mostSplits / usualSplits) }, (_, i) => usualSplits * 2 ** (i + 1));
  return `
const MOST_SPLITS = ${mostSplits}u;
const STRIP_TOKENS = ${stripTokens}u;
fn split_count(context: u32) -> u32 {
  var splits = min(${usualSplits}u, (context + STRIP_TOKENS - 1u) / STRIP_TOKENS);
${doublings.map((splits) => `  if (context >= ${splits * longTokens}u) { splits = ${splits}u; }\n`).join("")}  return splits;
}
fn split_tokens(split: u32, splits: u32, context: u32) -> u32 {
  let strips = (context + STRIP_TOKENS - 1u) / STRIP_TOKENS;
  let mine = (strips - split + splits - 1u) / splits;
  let ends_here = (strips - 1u) % splits == split;
  return mine * STRIP_TOKENS - select(0u, strips * STRIP_TOKENS - context, ends_here);
}
fn position_of(split: u32, splits: u32, token: u32) -> u32 {
  return (token / STRIP_TOKENS * splits + split) * STRIP_TOKENS + token % STRIP_TOKENS;
}
`;
}
