import { describe, it } from "@std/testing/bdd";
import { setImmediate } from "node:timers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { PrefixCache } from "../../../core/cache/prefix_cache.ts";
import { prefixHashes, prefixHashesInTurns, prefixSalt } from "../../../core/cache/prefix_hash.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { SEED } from "../../../bench/support/random.ts";

describe("prefix hashes", () => {
  it("are equal exactly as far as prompts of one client are", () => {
    const tokens = fc.array(fc.nat(2), { maxLength: 24 });
    fc.assert(
      fc.property(tokens, tokens, (a, b) => {
        const [of, other] = [prefixHashes(a, 4, "key"), prefixHashes(b, 4, "key")];
        let common = 0;
        while (common < Math.min(a.length, b.length) && a[common] === b[common]) common++;
        of.forEach((hash, i) => assertEquals(hash === other[i], (i + 1) * 4 <= common));
        assertEquals([of.length, new Set(of).size], [Math.floor(a.length / 4), of.length]);
        for (const hash of prefixHashes(a, 4, "another key")) assertEquals(of.includes(hash), false);
      }),
      { seed: SEED },
    );
  });

  it("of prompts on one side of a border of LongRoPE are none of those on the other", () => {
    const salts = (tokens: number) => [0, 32, 64].map((border) => prefixSalt("key", tokens, border));
    assertEquals([salts(33), salts(64), salts(65)].map(([none]) => none), ["key", "key", "key"]);
    assertEquals(salts(64)[1], salts(65)[1]);
    assertEquals([salts(1)[1] === salts(32)[1], salts(32)[1] === salts(33)[1], salts(64)[2] === salts(65)[2]], [true, false, false]);
  });

  it("of a long prompt leave the event loop its turns, and are made once for all who share it", async () => {
    const prompt = Array.from({ length: 163_840 }, (_, i) => i % 50_000);
    const first = prefixHashesInTurns(prompt, 64, "key");
    assert(first instanceof Promise);
    assert(prefixHashesInTurns(prompt, 64, "key") === first);
    let turns = 0;
    let waiting = true;
    const count = () => {
      turns++;
      if (waiting) setImmediate(count);
    };
    setImmediate(count);
    const hashes = await first;
    waiting = false;
    assertEquals(hashes, prefixHashes(prompt, 64, "key"));
    assert(turns >= 30, `${turns} turns`);
    assertEquals(await prefixHashesInTurns(prompt, 64, "another key"), prefixHashes(prompt, 64, "another key"));
    assertEquals(prefixHashesInTurns(prompt.slice(0, 100), 64, "key"), hashes.slice(0, 1));
    await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("PrefixCache", () => {
  const hashes = prefixHashes([1, 2, 3, 4, 5, 6], 2, "");

  it("keeps what was published until room is needed, and forgets the longest unused end first", () => {
    const cache = new PrefixCache(4);
    const blocks = cache.allocate(3);
    blocks.forEach((block, i) => cache.publish(hashes[i], block));
    assertEquals([cache.available, cache.published], [1, 3]);
    cache.release(blocks);
    assertEquals([cache.available, cache.matches(hashes)], [4, 3]);
    const [, own] = cache.allocate(2);
    assertEquals([cache.matches(hashes), cache.available], [2, 2]);
    const shared = cache.share(hashes, 2);
    assertEquals([shared, cache.available, cache.canAllocate(1)], [blocks.slice(0, 2), 0, false]);
    assertThrows(() => cache.allocate(1), LatentmeshError, "in use");
    // Somebody else computed the same: the known block stays known.
    cache.publish(hashes[0], own);
    cache.release([own]);
    assertEquals([cache.published, cache.available], [2, 1]);
    cache.checkIntegrity([...shared, 3]);
    assertThrows(() => cache.checkIntegrity(shared), LatentmeshError, "references");
  });
});
