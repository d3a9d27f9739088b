/**
 * Chunks in turns, on a coordinator whose workers are the test's own.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { launchFakeCluster } from "../../support/fake_workers.ts";
import { tokenRequest } from "../../support/token_requests.ts";

describe("prompts beside streams of a mixed unit", () => {
  it("are waited for, a turn at the most, while nobody who generates can go on", async () => {
    let [underWay, most] = [0, 0];
    await using server = await launchFakeCluster(
      { mixed: { workers: 1 }, prefill: { chunk: 256 }, cache: { maxTokens: 8192 } },
      (_worker, request) => {
        if (request.kind === "step" || (request.kind === "prefill" && request.awaited)) underWay = 0;
        else if (request.kind === "prefill") most = Math.max(most, ++underWay);
        return undefined;
      },
    );
    const { engine } = server.cluster.served;
    const slow = Promise.withResolvers<void>();
    let accepted = 0;
    const constraint = {
      settled: null as Promise<void> | null,
      mask: new Uint32Array(256).fill(0xffffffff),
      accept() {
        // What may come after the fourth token is not known before the prompt is computed.
        this.settled = ++accepted === 4 ? slow.promise : null;
      },
    };
    const paused = Promise.withResolvers<void>();
    let tokens = 0;
    const stream = engine.generate(tokenRequest([5, 6, 7], { maxTokens: 8, constraint, client: "a" }), ({ kind }) => {
      if (kind === "token" && ++tokens === 4) paused.resolve();
    });
    await paused.promise;
    await engine.generate(tokenRequest(Array.from({ length: 2000 }, (_, i) => 10 + i % 5000), { maxTokens: 1, client: "b" }), () => {});
    slow.resolve();
    await stream;
    assertEquals(most, 1, "turns that nothing had waited for");
    assert(server.workers.length === 1, "nobody was blamed");
  });

  it("leave no blocks taken where choices end before one was copied from another", async () => {
    await using server = await launchFakeCluster({ mixed: { workers: 1 }, prefill: { chunk: 512 } });
    const { engine } = server.cluster.served;
    // Each takes a fifth of the cache.
    for (let i = 0; i < 8; i++) {
      const prompt = Array.from({ length: 800 }, (_, k) => 10 + i * 100 + k);
      const signal = AbortSignal.timeout(10_000);
      await Promise.all([0, 1].map((choice) => engine.generate(tokenRequest(prompt, { choice, maxTokens: 1, signal }), () => {})));
    }
  });
});
