/**
 * Mixed units: one model and one cache for prompts and steps. Everything that holds for clusters of prefill units and decode groups holds here.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { ClusterTokenEngine } from "../../cluster/serving/cluster_engine.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { GenerateOptions } from "../../core/text/text_engine.ts";
import type { Config } from "../../mod.ts";
import { until } from "../../bench/support/until.ts";
import { ofSmall, withCluster, withWorkersHere } from "../support/cluster.ts";
import { tested } from "../support/extent.ts";
import { launchFakeCluster } from "../support/fake_workers.ts";
import { fixtureDirectory, SPARSE_FIXTURES } from "../support/checkpoints.ts";
import { readGolden } from "../support/fixtures.ts";
import { assertGoldenGenerations, generate } from "../support/generation.ts";
import { Random } from "../../bench/support/random.ts";
import { freeAgain, run, tokenRequest } from "../support/token_requests.ts";

const TEXTS = ["And it came to pass in those days", "To create a new table", "It was the best of times", "The quick brown fox", "In the beginning"];

/** Streams at a time; more by hand. */
const STREAMS = Number(Deno.env.get("TEST_STREAMS") ?? 20);

const mixed = (change: Config = {}): Config => ({ mixed: { workers: 1 }, ...change });

/** Requests of several lengths and kinds. */
function requestsOf(count: number, random: Random): GenerateOptions[] {
  return Array.from({ length: count }, (_, i) => ({
    prompt: `${TEXTS[i % TEXTS.length]} ${"and so on ".repeat(random.below(12))}${i}`,
    maxTokens: 1 + random.below(16),
    ignoreEos: true,
    logprobs: 1,
    ...[{}, { temperature: 1, seed: i }, { temperature: 0.9, topP: 0.9, seed: i }, { repetitionPenalty: 1.2 }][random.below(4)],
  }));
}

describe("a mixed unit", () => {
  for (const ranks of [1, 2]) {
    it(`generates the goldens of every model over ${ranks} ranks, with its weights once`, async () => {
      await (ranks === 1 ? withWorkersHere : withCluster)({ mixed: { workers: 1, ranks } }, async (cluster) => {
        await assertGoldenGenerations(cluster);
        const [unit, ...others] = (await cluster.describe()).units;
        assertEquals([unit.role, unit.workers.length, others], ["mixed", ranks, []]);
        const { prefill, decode } = unit.workers[0].stats!.parts;
        assert(prefill.steps > 0 && decode.steps > 0, "one worker did both");
      });
      for (const name of ["deepseek-v2-lite-tiny", "deepseek-v3-tiny", ...SPARSE_FIXTURES] as const) {
        await withWorkersHere({ model: fixtureDirectory(name), mixed: { workers: 1, ranks } }, async (cluster) => {
          const generated = (await readGolden(name)).generated!;
          const { tokens } = await generate(cluster, { prompt: generated.slice(0, 24), maxTokens: 40, ignoreEos: true });
          assertEquals(tokens, generated.slice(24));
        });
      }
    });
  }

  it("gives every request the bits it gets alone, however requests, chunks and steps are cut", () =>
    withWorkersHere(
      mixed({ prefill: { chunk: 64 } }),
      (alone) =>
        withWorkersHere(mixed({ prefill: { chunk: 24 }, decode: { maxBatch: 12 }, cache: { maxTokens: 1024 } }), async (together) => {
          const requests = requestsOf(STREAMS, new Random(11));
          const answers = await Promise.all(requests.map((request) => generate(together, request)));
          for (const [i, request] of requests.entries()) assertEquals(answers[i], await generate(alone, request), `request ${i}`);
          assert(together.stepTimes.rows > together.stepTimes.steps, "steps held several sequences");
          await freeAgain(together, 1024);
        }),
    ));

  const kinds = [[1, undefined], [1, "q8"], [2, "q8"]] as const;
  for (const [ranks, dtype] of tested("numbers of ranks and precisions of latents", kinds, ([ranks]) => ranks === 2)) {
    it(`gives the bits of prefill and exact decode workers, ${ranks} of each, with latents in ${dtype ?? "f32"}`, () =>
      withWorkersHere(
        { cache: { dtype }, decode: { ranks, attention: "mla" }, prefill: { ranks } },
        (apart) =>
          withWorkersHere({ mixed: { workers: 1, ranks }, cache: { dtype } }, async (cluster) => {
            for (const request of requestsOf(4, new Random(2))) assertEquals(await generate(cluster, request), await generate(apart, request));
            const prompt = Array.from({ length: 150 }, (_, i) => 200 + i);
            for (const change of [{ promptLogprobs: 0 }, { promptLogprobs: 0, maxTokens: 0 }]) {
              const [one, other] = [await run(cluster, tokenRequest(prompt, change)), await run(apart, tokenRequest(prompt, change))];
              assertEquals(one, other);
              assertEquals(one.prompt.length, 150);
            }
            await freeAgain(cluster, 1024);
          }),
      ));
  }

  it("takes sequences out when blocks run out, those too whose prompts are computed, and goes on with them later", () =>
    withWorkersHere(
      mixed({ model: fixtureDirectory("deepseek-v2-lite-tiny"), cache: { maxTokens: 256 }, prefill: { chunk: 16 } }),
      async (cluster) => {
        const prompts = [9, 10, 11, 60, 61, 62].map((length, i) => Array.from({ length }, (_, t) => 3 + (i * 17 + t * 5) % 200));
        const requests = prompts.map((prompt) => ({ prompt, maxTokens: 60, ignoreEos: true }));
        const expected: number[][] = [];
        for (const request of requests) expected.push((await generate(cluster, request)).tokens);
        const answers = await Promise.all(requests.map((request) => generate(cluster, request)));
        assertEquals(answers.map(({ tokens }) => tokens), expected);
        assert(cluster.scheduling.preemptions > 0, "somebody was preempted");
        await until(async () => (await cluster.status()).every(({ stats }) => stats.sequences === 0 && stats.freeBlocks === 4));
        cluster.checkIntegrity();
      },
    ));

  it("computes the prompt of several choices once, copies what they write to, and keeps prefixes of each client", () =>
    withWorkersHere(mixed(), async (cluster) => {
      const prompt = Array.from({ length: 100 }, (_, i) => 200 + i);
      const choices = [0, 1, 2, 3];
      const apart: Awaited<ReturnType<typeof run>>[] = [];
      for (const choice of choices) apart.push(await run(cluster, tokenRequest(prompt, { choice, client: `client ${choice}` })));
      const before = cluster.scheduling;
      const together = await Promise.all(choices.map((choice) => run(cluster, tokenRequest(prompt, { choice, client: "all" }))));
      const after = cluster.scheduling;
      assertEquals(together.map(({ tokens, logprobs }) => ({ tokens, logprobs })), apart.map(({ tokens, logprobs }) => ({ tokens, logprobs })));
      assertEquals([after.promptTokens - before.promptTokens, after.cachedTokens - before.cachedTokens], [400, 300]);
      const again = await run(cluster, tokenRequest(prompt, { client: "all" }));
      assertEquals([again.cached, again.tokens, again.logprobs], [64, apart[0].tokens, apart[0].logprobs]);
      const scored = await run(cluster, tokenRequest(prompt, { client: "all", promptLogprobs: 0, maxTokens: 0 }));
      assertEquals([scored.cached, scored.tokens], [0, []]);
      await freeAgain(cluster, 1024);
    }));

  it("stops at once for clients that go away, with a prompt half computed too, and nobody else notices", () =>
    withWorkersHere(mixed({ prefill: { chunk: 16 } }), async (cluster) => {
      const request = { prompt: TEXTS[0], maxTokens: 40, ignoreEos: true };
      const expected = (await generate(cluster, request)).tokens;
      const random = new Random(3);
      const staying = [1, 2, 3].map(() => generate(cluster, request));
      await Promise.all(Array.from({ length: 20 }, async (_, i) => {
        let left = random.below(10);
        for await (const _ of cluster.generate({ prompt: `${TEXTS[i % TEXTS.length]} ${i}`, maxTokens: 500, ignoreEos: true })) {
          if (left-- === 0) break;
        }
      }));
      const controller = new AbortController();
      const long = Array.from({ length: 400 }, (_, i) => 100 + i);
      const cancelled = assertRejects(() => run(cluster, tokenRequest(long, { signal: controller.signal })), LatentmeshError, "cancelled");
      const { prefillUnits } = (cluster.served.engine as ClusterTokenEngine).serving.scheduler;
      await until(() => [...prefillUnits.get("mixed-0")!.prompts].some(({ prefilled }) => prefilled > 0));
      controller.abort();
      await cancelled;
      for (const { tokens } of await Promise.all(staying)) assertEquals(tokens, expected);
      assertEquals(cluster.scheduling.active, 0);
      await freeAgain(cluster, 1024);
    }));

  it("goes on where it was after its worker is killed or stalls, under streams and under prompts", () =>
    withCluster(ofSmall(mixed({ decode: { deadlineMs: 500 }, prefill: { chunk: 16 }, cache: { maxTokens: 2048 } })), async (cluster) => {
      const requests = requestsOf(4, new Random(7)).map((request) => ({ ...request, maxTokens: 20 }));
      requests.push({ prompt: Array.from({ length: 300 }, (_, i) => 100 + i), maxTokens: 4, ignoreEos: true, logprobs: 1 });
      const expected: Awaited<ReturnType<typeof generate>>[] = [];
      for (const request of requests) expected.push(await generate(cluster, request));
      for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
        const [{ pid, worker, epoch }] = await cluster.status();
        const streams = Promise.all(requests.map((request) => generate(cluster, request)));
        const { steps } = cluster.stepTimes;
        await until(() => cluster.stepTimes.steps > steps + 6);
        Deno.kill(pid, signal);
        const answers = await streams;
        answers.forEach((answer, i) => assertEquals(answer, expected[i], `${signal}, request ${i}`));
        const [now] = await cluster.status();
        assert(now.worker !== worker && now.epoch > epoch, "another process took the place");
        await freeAgain(cluster, 2048);
      }
      assert(cluster.scheduling.replays > 0);
    }));

  it("goes on elsewhere where there are several, to the same bits", () =>
    withCluster(ofSmall({ mixed: { workers: 2 } }), async (cluster) => {
      const requests = requestsOf(8, new Random(5)).map((request) => ({ ...request, maxTokens: 16 }));
      const expected: Awaited<ReturnType<typeof generate>>[] = [];
      for (const request of requests) expected.push(await generate(cluster, request));
      const streams = Promise.all(requests.map((request) => generate(cluster, request)));
      const { steps } = cluster.stepTimes;
      await until(() => cluster.stepTimes.steps > steps + 6);
      Deno.kill((await cluster.status())[0].pid, "SIGKILL");
      assertEquals(await streams, expected);
      assertEquals(new Set((await cluster.describe()).units.map(({ role }) => role)), new Set(["mixed"]));
      await until(() => cluster.served.engine.degraded === null);
      await freeAgain(cluster, 1024);
    }));

  it("runs a step between two chunks of a prompt while others generate, and whole chunks while nobody does", async () => {
    await using server = await launchFakeCluster({ mixed: { workers: 1 }, prefill: { chunk: 128 } });
    const { engine } = server.cluster.served;
    const asked = () => server.worker("mixed-0.0").asked.filter((kind) => kind === "prefill" || kind === "step");
    const long = Array.from({ length: 1000 }, (_, i) => 1 + i);
    await engine.generate(tokenRequest(long, { maxTokens: 1 }), () => {});
    assertEquals(asked(), new Array(8).fill("prefill"));
    // One that generates, and two prompts beside it.
    let tokens = 0;
    let before = 0;
    const prompts: Promise<void>[] = [];
    const come = () => {
      before = asked().length;
      for (const client of ["a", "b"]) prompts.push(engine.generate(tokenRequest(long, { maxTokens: 1, client }), () => {}));
    };
    await engine.generate(tokenRequest([5, 6, 7], { maxTokens: 100 }), ({ kind }) => {
      if (kind === "token" && ++tokens === 4) come();
    });
    await Promise.all(prompts);
    const since = asked().slice(before).join(" ");
    assert(!since.includes("prefill prefill"), since);
    assert(since.split("prefill").length > 2 * 8, since);
  });

  it("computes layers behind steps only where a step does not wait for them, and not where something is asked about all of a prompt", async () => {
    const behindOf = async (kind: "dawn" | "deno", promptLogprobs: number | null) => {
      const behind: { readonly end: number }[] = [];
      const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
      await using server = await launchFakeCluster(
        { mixed: { workers: 1 }, prefill: { chunk: 128 } },
        (_, request, __, usual) => {
          // A layer takes as long as a step, so that chunks take several turns.
          if (request.kind === "prefill") return wait(3 * (request.layers.end - request.layers.first)).then(usual);
          if (request.kind !== "step") return undefined;
          if (request.behind !== null) behind.push(request.behind.layers);
          return wait(3 + (request.behind === null ? 0 : 3 * (request.behind.layers.end - request.behind.layers.first))).then(usual);
        },
        { kind, description: "a test", maxBindingBytes: 2 ** 32 },
      );
      const { engine } = server.cluster.served;
      const long = Array.from({ length: 600 }, (_, i) => 1 + i);
      let tokens = 0;
      let beside: Promise<unknown> = Promise.resolve();
      await engine.generate(tokenRequest([5, 6, 7], { maxTokens: 150 }), ({ kind }) => {
        // Fake workers have no lists of log-probabilities: what becomes of the request is not asked.
        if (kind === "token" && ++tokens === 20) {
          beside = engine.generate(tokenRequest(long, { maxTokens: 1, client: "b", promptLogprobs }), () => {}).catch(() => {});
        }
      });
      await beside;
      return behind;
    };
    const layers = 6;
    const plain = await behindOf("dawn", null);
    assert(plain.some(({ end }) => end === layers), "no chunk ended behind a step");
    const scored = await behindOf("dawn", 0);
    assert(scored.length > 0 && scored.every(({ end }) => end < layers), JSON.stringify(scored));
    assertEquals(await behindOf("deno", null), []);
  });
});
