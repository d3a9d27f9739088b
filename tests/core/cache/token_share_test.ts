/**
 * Shares of tokens: every token is kept by one rank, and as many are counted as are kept.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { BLOCK_TOKENS } from "../../../core/cache/blocks.ts";
import { ALL_TOKENS, blockTokensOf, keepsToken, keptTokens, tokenPosition } from "../../../core/cache/token_share.ts";
import { SEED } from "../../../bench/support/random.ts";

describe("shares of tokens", () => {
  it("have every token once, count what they have, and differ by a block at most", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.nat({ max: 2000 }), (of, tokens) => {
        const shares = Array.from({ length: of }, (_, index) => ({ index, of }));
        const kept = shares.map((share) => Array.from({ length: tokens }, (_, t) => t).filter((t) => keepsToken(share, t)));
        assertEquals(kept.flat().sort((a, b) => a - b), Array.from({ length: tokens }, (_, t) => t));
        shares.forEach((share, rank) => assertEquals(kept[rank].map((_, i) => tokenPosition(share, i)), kept[rank]));
        const counts = shares.map((share) => keptTokens(share, tokens));
        assertEquals(counts, kept.map(({ length }) => length));
        assert(Math.max(...counts) - Math.min(...counts) <= BLOCK_TOKENS);
        // What a block of the cache stands for is a block's worth of every rank.
        assertEquals(shares.map((share) => keptTokens(share, blockTokensOf(share) * 3)), shares.map(() => BLOCK_TOKENS * 3));
      }),
      { seed: SEED, numRuns: 60 },
    );
    assertEquals([0, 1, 63, 64, 1000].map((tokens) => keptTokens(ALL_TOKENS, tokens)), [0, 1, 63, 64, 1000]);
  });
});
