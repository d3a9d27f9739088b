/**
 * Clusters whose decode ranks share latents by tokens: exact, with a part of the cache each, whatever becomes of sequences.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { parseModelConfig } from "../../core/model/config.ts";
import { partition } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken, handoffBytesPerToken } from "../../core/tpla/plan.ts";
import { whyNotShared } from "../../workers/collective/shared_memory.ts";
import type { Config } from "../../mod.ts";
import { until } from "../../bench/support/until.ts";
import { ofSmall, withCluster, withWorkersHere } from "../support/cluster.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";
import { readGolden } from "../support/fixtures.ts";
import { assertGoldenGenerations, generate } from "../support/generation.ts";

const LAYERS = 6;
const prompt = (tokens: number, salt = 0, most = 5000) => Array.from({ length: tokens }, (_, i) => 100 + (i * 37 + salt * 11) % most);
/** Of the small model. */
const shortPrompt = (tokens: number, salt = 0) => prompt(tokens, salt, 400);

/** What a cluster with exact attention says. */
async function exact(asks: readonly Parameters<typeof generate>[1][], config: (change: Config) => Config = (change) => change): Promise<number[][]> {
  const said: number[][] = [];
  await withWorkersHere(config({ decode: { ranks: 1, attention: "mla" } }), async (cluster) => {
    for (const ask of asks) said.push([...(await generate(cluster, ask)).tokens]);
  });
  return said;
}

describe("a cluster whose ranks share latents by tokens", () => {
  it("generates the goldens, over two and three ranks, with and without feed-forward blocks whole", async () => {
    await withWorkersHere({ decode: { attention: "dcp", ranks: 3, feedForward: "replicated" } }, assertGoldenGenerations);
    const model = fixtureDirectory("deepseek-v3-tiny");
    await withWorkersHere({ model, decode: { attention: "dcp", ranks: 2 } }, async (cluster) => {
      const generated = (await readGolden("deepseek-v3-tiny")).generated!;
      const { tokens } = await generate(cluster, { prompt: generated.slice(0, 24), maxTokens: 40, ignoreEos: true });
      assertEquals(tokens, generated.slice(24));
    });
  });

  it("says what one worker says of long prompts, whichever way parts travel", async () => {
    // Across several blocks of both ranks; alike at the beginning, so that blocks are found again.
    const asks = [150, 260, 128, 300].map((tokens) => ({ prompt: shortPrompt(tokens), maxTokens: 24, ignoreEos: true }));
    const expected = await exact(asks, ofSmall);
    for (const exchange of whyNotShared() === null ? ["shared-memory", "websocket"] as const : ["websocket"] as const) {
      const config = ofSmall({ cache: { maxTokens: 1024 }, decode: { attention: "dcp", ranks: 2, exchange }, prefill: { chunk: 48 } });
      await withCluster(config, async (cluster) => {
        for (const [i, ask] of asks.entries()) assertEquals((await generate(cluster, ask)).tokens, expected[i], `${exchange}, ${i}`);
        assertEquals((await Promise.all(asks.map((ask) => generate(cluster, ask)))).map(({ tokens }) => tokens), expected, "all at once");
        await until(async () => (await cluster.status()).every(({ stats }) => stats.sequences === 0));
        cluster.checkIntegrity();
      });
    }
  });

  it("rounds parts on their way, where it is told to, and nothing of what they are weighed by, in halves of steps beside each other", async () => {
    const asks = [150, 90, 128].map((tokens, i) => ({ prompt: prompt(tokens, i), maxTokens: 20, ignoreEos: true, logprobs: 1 }));
    const expected: Awaited<ReturnType<typeof generate>>[] = [];
    await withWorkersHere({ decode: { ranks: 1, attention: "mla" } }, async (cluster) => {
      for (const ask of asks) expected.push(await generate(cluster, ask));
    });
    await withWorkersHere({ decode: { attention: "dcp", ranks: 2, wire: "f16", pingPong: true } }, async (cluster) => {
      const alone = [];
      for (const ask of asks) alone.push(await generate(cluster, ask));
      assertEquals(await Promise.all(asks.map((ask) => generate(cluster, ask))), alone, "the same beside others");
      alone.forEach(({ tokens, logprobs }, i) => {
        const same = expected[i].tokens.findIndex((token, k) => token !== tokens[k]);
        const count = same === -1 ? tokens.length : same;
        assert(count > 4, `${count} tokens of ${i} are as exact`);
        logprobs.slice(0, count).forEach(({ logprob }, k) =>
          assert(Math.abs(logprob - expected[i].logprobs[k].logprob) < 5e-3, `token ${k} of ${i}`)
        );
      });
    });
  });

  it("caches a part of all tokens on each rank, hands each over once, and exchanges what the formulas say", () =>
    withWorkersHere({ cache: { maxTokens: 1024 }, decode: { attention: "dcp", ranks: 2 }, prefill: { chunk: 16 } }, async (cluster) => {
      const spec = parseModelConfig(await Deno.readTextFile(`${fixtureDirectory("tiny-mla")}/config.json`), "tiny-mla");
      const shapes = partition(spec, { ranks: 2, latentGroups: 1, halo: 0, tokenShares: 2 });
      const { tokens } = await generate(cluster, { prompt: prompt(70), maxTokens: 80, ignoreEos: true, speculate: "off" });
      assertEquals(tokens.length, 80);
      const [rank0, rank1, prefill] = (await cluster.status()).map(({ stats }) => stats);
      assertEquals([rank0, rank1].map((stats) => stats.cacheBytesPerToken), shapes.map((shape) => cacheBytesPerToken(spec, shape, "f32")));
      assertEquals(prefill.handoffBytes, 70 * handoffBytesPerToken(spec, shapes, "f32"));
      // Half as many blocks as a rank would have that keeps all tokens.
      assertEquals([rank0.sequences, rank0.freeBlocks, rank1.sequences, rank1.freeBlocks], [0, 8, 0, 8]);
      // Two sums and one exchange of log-sum-exps per layer and step; a unit that is idle for a while is probed with one more.
      const probes = rank0.collectives - 79 * LAYERS * 3;
      assert(probes >= 0 && probes < LAYERS * 2, `${rank0.collectives} exchanges`);
      const [{ cache }] = (await cluster.describe()).units;
      assertEquals(cache.blocks, 8);
    }));

  it("shares prefixes, forks choices, drafts, and gives way where blocks run out, with the same tokens", async () => {
    const asks = [
      { prompt: prompt(200), maxTokens: 60, ignoreEos: true },
      { prompt: [...prompt(200).slice(0, 140), 7, 8, 9], maxTokens: 60, ignoreEos: true },
      { prompt: prompt(100, 1), maxTokens: 90, ignoreEos: true },
      // It says the same again and again: drafts are right, mostly.
      { prompt: Array.from({ length: 120 }, (_, i) => 200 + i % 6), maxTokens: 80, ignoreEos: true, speculate: "ngram" as const },
      { prompt: prompt(130, 2), maxTokens: 60, ignoreEos: true, temperature: 1, seed: 5 },
    ];
    const expected = await exact(asks);
    // Five blocks of 128 tokens: not all of them at once.
    await withWorkersHere(
      { cache: { maxTokens: 640 }, decode: { attention: "dcp", ranks: 2, maxBatch: 4 }, prefill: { chunk: 64 } },
      async (cluster) => {
        for (const [i, ask] of asks.entries()) assertEquals((await generate(cluster, ask)).tokens, expected[i], `request ${i}`);
        const again = await Promise.all([...asks, ...asks].map((ask) => generate(cluster, ask)));
        assertEquals(again.map(({ tokens }) => tokens), [...expected, ...expected]);
        assert(cluster.scheduling.preemptions > 0, "somebody gave way");
        assert(cluster.scheduling.cachedTokens > 0, "prefixes were found again");
        assert(cluster.scheduling.accepted.length > 0, "drafts were right");
        await until(async () => (await cluster.status()).every(({ stats }) => stats.sequences === 0));
        cluster.checkIntegrity();
      },
    );
  });

  it("goes on with the same tokens where a rank is killed, by itself and with prompts that ranks compute among themselves", async () => {
    const ask = { prompt: shortPrompt(170, 3), maxTokens: 40, ignoreEos: true };
    const [expected] = await exact([ask], ofSmall);
    for (const config of [{}, { prefill: { workers: 0, chunk: 48 } }] as const) {
      await withCluster(ofSmall({ ...config, cache: { maxTokens: 1024 }, decode: { attention: "dcp", ranks: 2 } }), async (cluster) => {
        const unit = "prefill" in config ? "mixed-0" : "decode-0";
        const victim = (await cluster.status()).find((worker) => worker.unit === unit && worker.rank === 1)!;
        const tokens: number[] = [];
        for await (const piece of cluster.generate(ask)) {
          if (tokens.length < 15 && tokens.length + piece.tokens.length >= 15) Deno.kill(victim.pid, "SIGKILL");
          tokens.push(...piece.tokens);
        }
        assertEquals(tokens, expected, unit);
        // Prefixes are found again, and others beside.
        const asks = [ask, { ...ask, prompt: [...ask.prompt.slice(0, 150), 9] }, { ...ask, prompt: shortPrompt(60) }];
        const alone: number[][] = [];
        for (const one of asks) alone.push((await generate(cluster, one)).tokens);
        assertEquals(alone[0], expected);
        assertEquals((await Promise.all(asks.map((one) => generate(cluster, one)))).map(({ tokens }) => tokens), alone);
        await until(async () => (await cluster.status()).every(({ stats }) => stats.sequences === 0));
        cluster.checkIntegrity();
      });
    }
  });
});
