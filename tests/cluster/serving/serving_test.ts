/**
 * Many requests at once: each gets what it would get alone, whatever else is served and however it is cut into chunks.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { ClusterTokenEngine } from "../../../cluster/serving/cluster_engine.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { GenerateOptions } from "../../../core/text/text_engine.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { ofSmall, withCluster, withWorkersHere } from "../../support/cluster.ts";
import { generate } from "../../support/generation.ts";
import { Random } from "../../../bench/support/random.ts";
import { freeAgain, run, tokenRequest } from "../../support/token_requests.ts";

const TEXTS = ["And it came to pass in those days", "To create a new table", "It was the best of times", "The quick brown fox", "In the beginning"];

/** Requests of mixed length and kind. */
function mixedRequests(count: number, random: Random): GenerateOptions[] {
  return Array.from({ length: count }, (_, i) => ({
    prompt: `${TEXTS[i % TEXTS.length]} ${"and so on ".repeat(random.below(20))}${i}`,
    maxTokens: 1 + random.below(24),
    ignoreEos: true,
    logprobs: 0,
    ...[{}, {}, { temperature: 1, seed: i }, { temperature: 0.9, topP: 0.9, seed: i }, { repetitionPenalty: 1.2 }][random.below(5)],
  }));
}

/** A small model, where it is about the cache. */
const SMALL = fixtureDirectory("deepseek-v2-lite-tiny");

describe("serving many", () => {
  it("gives every request the bits it gets alone, however requests, chunks and steps are cut", () =>
    // The second cluster has chunks of another size, and the halves of its steps run side by side.
    withWorkersHere(ofSmall({ prefill: { chunk: 64 } }), (alone) =>
      withCluster(ofSmall({ prefill: { chunk: 24 }, decode: { maxBatch: 12, pingPong: true }, cache: { maxTokens: 1024 } }), async (together) => {
        const requests = mixedRequests(16, new Random(11));
        const answers = await Promise.all(requests.map((request) =>
          generate(together, request)
        ));
        for (const [i, request] of requests.entries()) {
          const expected = await generate(alone, request);
          assertEquals(answers[i].tokens, expected.tokens, `request ${i}`);
          assertEquals(answers[i].logprobs.map(({ logprob }) => logprob), expected.logprobs.map(({ logprob }) => logprob), `request ${i}`);
        }
        assert(together.stepTimes.rows > together.stepTimes.steps, "steps held several sequences");
        await freeAgain(together);
      })));

  it("tells clients of a step's tokens while the next step is computed", () =>
    withWorkersHere({}, async (cluster) => {
      const { serving } = cluster.served.engine as ClusterTokenEngine;
      const busy: boolean[] = [];
      await cluster.served.engine.generate(tokenRequest([5, 6, 7], { maxTokens: 6 }), ({ kind }) => {
        if (kind === "token") busy.push([...serving.scheduler.decodeGroups.values()].some(({ stepping }) => stepping));
      });
      // The first comes with the prompt, and after the last nothing is left to do.
      assertEquals(busy.slice(1), [true, true, true, true, false]);
    }));

  it("ends the request of a listener that throws, and nobody else's", () =>
    withWorkersHere({}, async (cluster) => {
      const { engine } = cluster.served;
      const expected = await run(cluster, tokenRequest([5, 6, 7]));
      let told = 0;
      const failing = engine.generate(tokenRequest([5, 6, 8]), ({ kind }) => {
        if (kind === "token" && ++told === 3) throw new LatentmeshError("unsupported", "cannot be said");
      });
      const [, { tokens }] = await Promise.all([
        assertRejects(() => failing, LatentmeshError, "cannot be said"),
        run(cluster, tokenRequest([5, 6, 7], { client: "another" })),
      ]);
      assertEquals([told, tokens], [3, expected.tokens]);
      await freeAgain(cluster);
    }));

  it("takes sequences out when blocks run out and goes on with them later", () =>
    withWorkersHere({ model: SMALL, decode: { basis: "hadamard" }, cache: { maxTokens: 192 } }, async (cluster) => {
      const requests = TEXTS.map((_, i) => ({ prompt: [3 + i, 5, 7, 11, 13], maxTokens: 90, ignoreEos: true }));
      const expected: number[][] = [];
      for (const request of requests) expected.push((await generate(cluster, request)).tokens);
      const answers = await Promise.all(requests.map((request) => generate(cluster, request)));
      assertEquals(answers.map(({ tokens }) => tokens), expected);
      assert(cluster.scheduling.preemptions > 0, "somebody was preempted");
      await freeAgain(cluster);
    }));

  it("computes the prompt of several choices once, and copies what they write to", () =>
    withWorkersHere({}, async (cluster) => {
      const prompt = Array.from({ length: 100 }, (_, i) => 200 + i);
      const choices = [0, 1, 2, 3];
      const apart: Awaited<ReturnType<typeof run>>[] = [];
      for (const choice of choices) apart.push(await run(cluster, tokenRequest(prompt, { choice, client: `client ${choice}` })));
      const before = cluster.scheduling;
      const together = await Promise.all(choices.map((choice) => run(cluster, tokenRequest(prompt, { choice, client: "all" }))));
      const after = cluster.scheduling;
      assertEquals(together.map(({ tokens, logprobs }) => ({ tokens, logprobs })), apart.map(({ tokens, logprobs }) => ({ tokens, logprobs })));
      assertEquals(new Set(together.map(({ tokens }) => tokens.join())).size, 4, "each choice draws its own noise");
      assertEquals([after.promptTokens - before.promptTokens, after.cachedTokens - before.cachedTokens], [400, 300]);
      // The first choice's client goes away before the prompt is computed; the others do not notice.
      const left = new AbortController();
      const abandoned = assertRejects(
        () => run(cluster, tokenRequest(prompt, { client: "third", signal: left.signal })),
        LatentmeshError,
        "cancelled",
      );
      const others = choices.slice(1).map((choice) => run(cluster, tokenRequest(prompt, { choice, client: "third" })));
      queueMicrotask(() => queueMicrotask(() => left.abort()));
      await abandoned;
      assertEquals((await Promise.all(others)).map(({ tokens }) => tokens), apart.slice(1).map(({ tokens }) => tokens));
      await freeAgain(cluster);
    }));

  it("computes what prompts have in common once for each client, to the same bits", () =>
    withWorkersHere({ decode: { groups: 2 }, prefill: { workers: 2 } }, async (cluster) => {
      const prefix = Array.from({ length: 300 }, (_, i) => 300 + i);
      const first = await run(cluster, tokenRequest([...prefix, 7, 8, 9]));
      const again = await run(cluster, tokenRequest([...prefix, 7, 8, 9]));
      const other = await run(cluster, tokenRequest([...prefix.slice(0, 200), 7, 8, 9]));
      const stranger = await run(cluster, tokenRequest([...prefix, 7, 8, 9], { client: "stranger" }));
      const scored = await run(cluster, tokenRequest([...prefix, 7, 8, 9], { promptLogprobs: 0 }));
      assertEquals([first, again, other, stranger, scored].map(({ cached }) => cached), [0, 256, 192, 0, 0]);
      for (const { tokens, logprobs } of [again, stranger, scored]) assertEquals([tokens, logprobs], [first.tokens, first.logprobs]);
      await freeAgain(cluster);
    }));

  it("stops at once for clients that go away, and nobody else notices", () =>
    withWorkersHere({}, async (cluster) => {
      const request = { prompt: TEXTS[0], maxTokens: 60, ignoreEos: true };
      const expected = (await generate(cluster, request)).tokens;
      const random = new Random(3);
      const staying = [1, 2, 3].map(() => generate(cluster, request));
      await Promise.all(Array.from({ length: 30 }, async (_, i) => {
        let left = random.below(10);
        for await (const _ of cluster.generate({ prompt: `${TEXTS[i % TEXTS.length]} ${i}`, maxTokens: 500, ignoreEos: true })) {
          if (left-- === 0) break;
        }
      }));
      for (const { tokens } of await Promise.all(staying)) assertEquals(tokens, expected);
      assertEquals(cluster.scheduling.active, 0);
      await freeAgain(cluster);
    }));

  it("refuses what would have to wait too long", () =>
    withWorkersHere({ server: { maxWaiting: 2 }, decode: { maxBatch: 1 } }, async (cluster) => {
      const answers = await Promise.allSettled(Array.from({ length: 12 }, (_, i) => generate(cluster, { prompt: `${TEXTS[0]} ${i}`, maxTokens: 4 })));
      const refused = answers.filter((answer) => answer.status === "rejected").map(({ reason }) => reason.code);
      assertEquals(refused, new Array(10).fill("overloaded"));
      const later = await Promise.allSettled(Array.from({ length: 4 }, (_, i) => generate(cluster, { prompt: `${TEXTS[0]} ${i}`, maxTokens: 4 })));
      const [told] = later.flatMap((answer) => answer.status === "rejected" ? [answer.reason.retryAfterMs] : []);
      assert(told > 0, "who is turned away is told when to come again");
    }));
});
