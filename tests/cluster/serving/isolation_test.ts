/**
 * One request's trouble is nobody else's: workers of the test answer at once, and what they answer is known.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import type { RunningCluster } from "../../../cluster/cluster.ts";
import type { ClusterTokenEngine } from "../../../cluster/serving/cluster_engine.ts";
import type { TokenConstraint, TokenRequest } from "../../../core/engine.ts";
import { GREEDY } from "../../../core/sampling/params.ts";
import { launchFakeCluster, tokenAt } from "../../support/fake_workers.ts";

const PROMPT = [5, 6, 7];
const TOKENS = 24;
const EXPECTED = Array.from({ length: TOKENS }, (_, i) => tokenAt(PROMPT.length + i));
const MASK = new Uint32Array(8192 / 32).fill(0xffffffff);

async function run(cluster: RunningCluster, change: Partial<TokenRequest> = {}): Promise<number[]> {
  const tokens: number[] = [];
  await cluster.served.engine.generate({
    prompt: PROMPT,
    maxTokens: TOKENS,
    sampling: GREEDY,
    choice: 0,
    stopTokens: new Set(),
    logprobs: null,
    promptLogprobs: null,
    signal: new AbortController().signal,
    ...change,
  }, (event) => {
    if (event.kind === "token") tokens.push(event.token);
  });
  return tokens;
}

/** Grammars that fail when they are asked for the `count`th time. */
const FAILING: Record<string, (count: number) => TokenConstraint> = {
  "while it takes a token": (count) => ({
    settled: null,
    mask: MASK,
    accept: () => {
      if (--count < 0) throw new TypeError("accept");
    },
  }),
  "while it says what may come": (count) => ({
    settled: null,
    get mask() {
      if (--count < 0) throw new TypeError("mask");
      return MASK;
    },
    accept: () => {},
  }),
  "later": (count) => ({
    get settled() {
      return --count < 0 ? Promise.reject(new TypeError("settled")) : null;
    },
    mask: MASK,
    accept: () => {},
  }),
};

describe("a request that fails by itself", () => {
  for (const [when, constraint] of Object.entries(FAILING)) {
    it(`ends alone: its grammar fails ${when}`, async () => {
      await using server = await launchFakeCluster({});
      for (const count of [0, 1, 7]) {
        const others = [run(server.cluster), run(server.cluster, { constraint: { settled: null, mask: MASK, accept: () => {} } })];
        await assertRejects(() => run(server.cluster, { constraint: constraint(count) }));
        assertEquals(await Promise.all(others), [EXPECTED, EXPECTED], `after ${count}`);
      }
      assertEquals((await server.cluster.status()).map(({ epoch }) => epoch), [1, 1, 1], "no worker is to blame");
      server.cluster.checkIntegrity();
    });
  }
});

describe("serving", () => {
  it("costs a unit its epoch, and no request its answer, where something goes wrong that nobody foresaw", async () => {
    await using server = await launchFakeCluster({});
    const { serving: { scheduler } } = server.cluster.served.engine as ClusterTokenEngine;
    const { nextStep } = scheduler;
    let left = 3;
    scheduler.nextStep = (group) => {
      if (--left === 0) throw new TypeError("not foreseen");
      return nextStep.call(scheduler, group);
    };
    assertEquals(await Promise.all([run(server.cluster), run(server.cluster)]), [EXPECTED, EXPECTED]);
    server.cluster.checkIntegrity();
  });
});
