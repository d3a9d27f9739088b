/**
 * TPLA groups without a prefill unit: their ranks compute prompts among themselves, exactly, and keep slices of latents to generate from. What a prefill unit of as many
 * ranks and the same group give is what they must give, to the bit.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import type { ClusterTokenEngine } from "../../cluster/serving/cluster_engine.ts";
import type { TokenRequest } from "../../core/engine.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { GREEDY } from "../../core/sampling/params.ts";
import type { Config, RunningCluster } from "../../mod.ts";
import { until } from "../../bench/support/until.ts";
import { ofFixture, ofSmall, withCluster, withWorkersHere } from "../support/cluster.ts";
import { itOfWhole, reportLeftOut, tested, WHOLE } from "../support/extent.ts";
import { type Fixture, fixtureDirectory } from "../support/checkpoints.ts";
import { freeAgain, run, tokenRequest } from "../support/token_requests.ts";

/** A group whose ranks compute prompts themselves. */
const alone = (change: Config = {}): Config => ({ ...change, prefill: { ...change.prefill, workers: 0 } });

/** The same group with a prefill unit of as many ranks, which sums the same parts. */
const apart = (change: Config = {}): Config => ({ ...change, prefill: { ...change.prefill, ranks: change.decode?.ranks ?? 2 } });

/** Prompts that begin alike and not, greedy and drawn, of one client and of others, with several choices; some of which are only computed, or scored. */
const requestsOf = (longest: number) =>
  fc.array(
    fc.record({
      family: fc.nat(2),
      length: fc.integer({ min: 1, max: longest }),
      maxTokens: fc.integer({ min: 0, max: 14 }),
      sampling: fc.constantFrom(
        GREEDY,
        { ...GREEDY, temperature: 1 },
        { ...GREEDY, temperature: 0.9, topP: 0.9 },
        { ...GREEDY, repetitionPenalty: 1.2 },
      ),
      seed: fc.nat(100),
      choices: fc.constantFrom(1, 1, 1, 3),
      client: fc.constantFrom("a", "b"),
      scored: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 6, maxLength: 10 },
  );

function askedFor({ family, length, choices, sampling, seed, scored, ...rest }: {
  readonly family: number;
  readonly length: number;
  readonly choices: number;
  readonly sampling: typeof GREEDY;
  readonly seed: number;
  readonly scored: boolean;
  readonly maxTokens: number;
  readonly client: string;
}): TokenRequest[] {
  const prompt = Array.from({ length }, (_, i) => 100 + (family * 31 + i * 7) % 90);
  const promptLogprobs = scored ? 1 : null;
  return Array.from({ length: choices }, (_, choice) => tokenRequest(prompt, { ...rest, sampling: { ...sampling, seed }, choice, promptLogprobs }));
}

type Bits = Awaited<ReturnType<typeof bitsOf>>;

const bitsOf = async (cluster: RunningCluster, request: TokenRequest) => {
  const { tokens, logprobs, prompt } = await run(cluster, request);
  return { tokens, logprobs, prompt };
};

/** Log-probabilities that prefill ranks answer with are over the vocabulary in as many parts as there are ranks: their last bits depend on that, and nothing else does. */
function assertSame(actual: Bits, expected: Bits, parts: "as many" | "others", message: string): void {
  if (parts === "as many") return assertEquals(actual, expected, message);
  const [told, wanted] = [actual, expected].map(({ tokens, logprobs, prompt }) => ({
    exact: { tokens, logprobs: logprobs.slice(1) },
    near: [logprobs[0] ?? 0, ...(prompt ?? []).map((logprob) => logprob ?? 0)],
  }));
  assertEquals(told.exact, wanted.exact, message);
  assertEquals(told.near.length, wanted.near.length, message);
  for (const [i, logprob] of told.near.entries()) assert(Math.abs(logprob - wanted.near[i]) < 1e-5, `${message}: ${logprob}, ${wanted.near[i]}`);
}

/** How much is compared. */
interface Comparison {
  readonly runs?: number;
  /** Whether both sides' prefill ranks are as many. */
  readonly parts?: "as many" | "others";
  readonly seed: number;
  readonly longest?: number;
  /** Where workers of the first cluster are; default: in processes of their own. */
  readonly workers?: "in processes" | "here";
}

/** All at once on one cluster, one after the other on the other. */
async function compare(
  one: Config,
  other: Config,
  { runs = 1, seed, longest = 100, parts = "as many", workers = "in processes" }: Comparison,
): Promise<void> {
  await (workers === "here" ? withWorkersHere : withCluster)(one, (together) =>
    withWorkersHere(other, async (inTurn) => {
      await fc.assert(
        fc.asyncProperty(requestsOf(longest), async (drawn) => {
          const asked = drawn.flatMap(askedFor);
          const answers = await Promise.all(asked.map((request) => bitsOf(together, request)));
          for (const [i, request] of asked.entries()) assertSame(answers[i], await bitsOf(inTurn, request), parts, `request ${i}`);
        }),
        { numRuns: runs, seed, endOnFailure: true },
      );
      await freeAgain(together);
    }));
}

describe("a TPLA group that computes prompts among its ranks", () => {
  reportLeftOut("three of four lists of requests");
  it("gives every request the bits of a prefill unit and the same group, however requests, chunks and steps are cut", () =>
    compare(
      alone({ prefill: { chunk: 24 }, decode: { maxBatch: 12 }, cache: { maxTokens: 1024 } }),
      apart({ prefill: { chunk: 64 } }),
      { runs: WHOLE ? 4 : 1, seed: 1, longest: 220 },
    ));

  const ways: Record<string, Config> = {
    "on plain processors": { device: "cpu" },
    "over four ranks and two slices": { decode: { ranks: 4, latentGroups: 2, halo: 8 } },
    "with μ, no halo, and sums in f16": { decode: { mu: 0.9, halo: 0, wire: "f16" } },
    "from latents in f16, through sockets": { cache: { dtype: "f16" }, decode: { exchange: "websocket" } },
    "from latents in eight bits": { cache: { dtype: "q8" } },
  };
  const whole = (change: Config): Config => ({ ...change, decode: { ...change.decode, feedForward: "replicated" } });
  for (const ranks of tested("numbers of ranks that have blocks whole", [2, 4], (ranks) => ranks === 2)) {
    it(`gives the bits of one prefill worker where each of ${ranks} ranks has feed-forward blocks whole`, () => {
      const config = whole(ofFixture("deepseek-v2-lite-tiny", { decode: { ranks } }));
      return compare(alone(config), { ...config, prefill: { chunk: 48 } }, { seed: 4, parts: "others", workers: "here" });
    });
  }

  for (const [how, change] of tested("ways to cut and to exchange", Object.entries(ways), ([how]) => /four ranks|sockets/.test(how))) {
    it(`does so ${how}`, () => {
      const config = ofFixture("deepseek-v2-lite-tiny", change);
      return compare(alone(config), apart({ ...config, decode: { feedForward: "sharded", ...config.decode } }), { seed: 2 });
    });
  }

  for (const [ranks, exchange] of tested("ways to share tokens", [[2, "auto"], [3, "websocket"]] as const, ([ranks]) => ranks === 2)) {
    it(`does so where ${ranks} ranks share latents by tokens instead`, () => {
      const decode = { attention: "dcp", ranks, exchange, feedForward: "sharded" } as const;
      const config = { model: fixtureDirectory("deepseek-v2-lite-tiny"), decode, cache: { maxTokens: 1536 } };
      return compare(alone({ ...config, prefill: { chunk: 24 } }), apart(config), { seed: 8, longest: 200 });
    });
  }

  const models = ["deepseek-v3-tiny", "mistral3-tiny", "minicpm3-tiny", "glm4-moe-lite-tiny", "axk1-tiny"] satisfies Fixture[];
  for (const name of tested("models", models, (name) => name === "deepseek-v3-tiny")) {
    it(`does so for ${name}`, () => compare(alone(ofFixture(name)), apart(ofFixture(name)), { seed: 7, workers: "here" }));
  }

  itOfWhole("does so under the paper's scheme", () => {
    const paper = { decode: { paper: true } };
    return compare(alone(paper), apart(paper), { seed: 3, longest: 40 });
  });

  it("has feed-forward blocks, embedding and head once, and says what it is and what it holds", () =>
    withWorkersHere(
      ofFixture("deepseek-v2-lite-tiny", { cache: { maxTokens: 1024 } }),
      (apartAsUsual) =>
        withWorkersHere(alone(ofFixture("deepseek-v2-lite-tiny", { cache: { maxTokens: 1024 } })), async (cluster) => {
          assert(
            /^1 mixed unit of 2 ranks, for prefill \(exact, over whole latents\) and decode \(tpla, 2 latent slices, halo \d+\)/.test(
              cluster.summary,
            ),
            cluster.summary,
          );
          const prompt = Array.from({ length: 70 }, (_, i) => 3 + i);
          await run(cluster, tokenRequest(prompt));
          const [unit, ...others] = (await cluster.describe()).units;
          assertEquals([unit.role, unit.workers.length, others], ["mixed", 2, []]);
          const { decode, prefill } = unit.workers[0].stats!.parts;
          assert(prefill.steps > 0 && decode.steps > 0, "the ranks did both");
          assertEquals(unit.cache, { blocks: 16, available: 16, published: 1 });
          assertEquals(unit.promptCache, { blocks: 16, available: 16, published: 1 });
          const [rank] = (await apartAsUsual.status()).filter(({ unit }) => unit === "decode-0");
          const more = unit.workers[0].stats!.weightBytes - rank.stats.weightBytes;
          const { headWeights } = attentionOf(cluster);
          assert(more > 0 && more <= headWeights, `${more} bytes more, of attention ${headWeights}`);
        }),
    ));

  it("takes sequences out when blocks run out, and goes on with them later", () =>
    withWorkersHere(alone(ofFixture("deepseek-v2-lite-tiny", { cache: { maxTokens: 256 }, prefill: { chunk: 16 } })), async (cluster) => {
      const prompts = [20, 24, 28, 60, 62, 66].map((length, i) => Array.from({ length }, (_, t) => 100 + (i * 17 + t * 3) % 200));
      const requests = prompts.map((prompt) => tokenRequest(prompt, { maxTokens: 60 }));
      const expected: Bits[] = [];
      for (const request of requests) expected.push(await bitsOf(cluster, request));
      assertEquals(await Promise.all(requests.map((request) => bitsOf(cluster, request))), expected);
      assert(cluster.scheduling.preemptions > 0, "somebody was preempted");
      await freeAgain(cluster, 2 * 256);
    }));

  it("stops at once for clients that go away, with a prompt half computed too, and nobody else notices", () =>
    withWorkersHere(alone({ prefill: { chunk: 16 } }), async (cluster) => {
      const staying = tokenRequest([5, 6, 7, 8], { maxTokens: 40 });
      const expected = await bitsOf(cluster, staying);
      const streams = [1, 2, 3].map(() => bitsOf(cluster, staying));
      const controller = new AbortController();
      const long = Array.from({ length: 400 }, (_, i) => 100 + i);
      const cancelled = assertRejects(() => run(cluster, tokenRequest(long, { signal: controller.signal })), LatentmeshError, "cancelled");
      const { prefillUnits } = (cluster.served.engine as ClusterTokenEngine).serving.scheduler;
      await until(() => [...prefillUnits.get("mixed-0")!.prompts].some(({ prefilled }) => prefilled >= 64));
      controller.abort();
      await cancelled;
      for (const bits of await Promise.all(streams)) assertEquals(bits, expected);
      // What was computed of it is found again, though nothing of it was ever generated from.
      const again = await run(cluster, tokenRequest(long));
      assert(again.cached > 0, "its beginning is still there");
      assertEquals(again.tokens, (await run(cluster, tokenRequest(long, { client: "another" }))).tokens);
      await freeAgain(cluster, 2 * 1024);
    }));

  it("goes on where it was after one of its ranks is killed or stalls, under streams and under prompts", () =>
    withCluster(alone(ofSmall({ decode: { deadlineMs: 500 }, prefill: { chunk: 16 } })), async (cluster) => {
      const requests = [10, 30, 70, 300].map((length, i) =>
        tokenRequest(Array.from({ length }, (_, t) => 100 + (i * 13 + t) % 300), { maxTokens: length > 200 ? 4 : 20, choice: i })
      );
      const expected: Bits[] = [];
      for (const request of requests) expected.push(await bitsOf(cluster, request));
      for (const [rank, signal] of ["SIGKILL", "SIGSTOP"].entries()) {
        const { pid, worker, epoch } = (await cluster.status())[rank];
        const streams = Promise.all(requests.map((request) => bitsOf(cluster, request)));
        const { steps } = cluster.stepTimes;
        await until(() => cluster.stepTimes.steps > steps + 6);
        Deno.kill(pid, signal as Deno.Signal);
        assertEquals(await streams, expected, signal);
        const now = (await cluster.status())[rank];
        assert(now.worker !== worker && now.epoch > epoch, "another process took the place");
        await freeAgain(cluster, 2 * 1024);
      }
      assert(cluster.scheduling.replays > 0);
    }));

  it("computes prompts as long as a context, however little room is asked for them", () =>
    withWorkersHere(alone(ofFixture("deepseek-v2-lite-tiny", { prefill: { cacheTokens: 64, chunk: 32 } })), async (cluster) => {
      const { maxContext } = cluster.served.engine;
      const prompt = (length: number, seed: number) => Array.from({ length }, (_, i) => 3 + (i * seed) % 90);
      const requests = [3, 5, 7].map((seed) => tokenRequest(prompt(maxContext - 4, seed), { maxTokens: 4 }));
      const together = await Promise.all(requests.map((request) => bitsOf(cluster, request)));
      for (const [i, request] of requests.entries()) assertEquals(together[i], await bitsOf(cluster, { ...request, client: "another" }));
      await assertRejects(() => run(cluster, tokenRequest(prompt(maxContext + 1, 3))), LatentmeshError, `context holds ${maxContext}`);
      await freeAgain(cluster);
    }));
});

/** Bytes at most that attention weights of a rank take in the form that prompts need. */
function attentionOf({ spec }: RunningCluster): { readonly headWeights: number } {
  const { layers, heads, nopeWidth, valueWidth, latentWidth, rope, hiddenSize } = spec;
  const projections = heads / 2 * ((nopeWidth + rope.width) * hiddenSize + (nopeWidth + valueWidth) * latentWidth + valueWidth * hiddenSize);
  return { headWeights: layers * (projections + latentWidth ** 2) * 4 };
}
