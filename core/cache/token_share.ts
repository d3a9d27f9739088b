/**
 * Which tokens of every sequence a rank keeps where ranks share latents by tokens: whole blocks of them in turn. One block of the cache then stands for as many blocks
 * of tokens as there are shares, of which every rank keeps one, all under the same id: who decides which sequence holds which block need not know of shares.
 *
 * @module
 */
import { BLOCK_TOKENS } from "./blocks.ts";

/** Blocks `index`, `index + of`, `index + 2 · of`, … of a sequence. */
export interface TokenShare {
  readonly index: number;
  readonly of: number;
}

/** Of a rank that keeps all tokens. */
export const ALL_TOKENS: TokenShare = { index: 0, of: 1 };

/** Tokens of a sequence that one block of the cache stands for, on all ranks together. */
export function blockTokensOf({ of }: Pick<TokenShare, "of">): number {
  return BLOCK_TOKENS * of;
}

/** Whether a rank keeps the token at a position. */
export function keepsToken({ index, of }: TokenShare, position: number): boolean {
  return Math.floor(position / BLOCK_TOKENS) % of === index;
}

/** How many of the first `tokens` tokens of a sequence a rank keeps. */
export function keptTokens({ index, of }: TokenShare, tokens: number): number {
  const all = blockTokensOf({ of });
  const rest = tokens % all - index * BLOCK_TOKENS;
  return Math.floor(tokens / all) * BLOCK_TOKENS + Math.min(Math.max(rest, 0), BLOCK_TOKENS);
}

/** Position of the token that a rank keeps as number `index`. */
export function tokenPosition({ index: share, of }: TokenShare, index: number): number {
  return (Math.floor(index / BLOCK_TOKENS) * of + share) * BLOCK_TOKENS + index % BLOCK_TOKENS;
}
