/**
 * A cluster of a model that is on no disk: every worker makes its part, and together they are the model that one process makes.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ServerMetrics } from "../../cluster/observe/metrics.ts";
import { Engine } from "../../mod.ts";
import { withCluster, withWorkersHere } from "../support/cluster.ts";

const model = "synthetic:tiny?layers=2&seed=5";

async function greedy(served: Pick<Engine, "generate">): Promise<string> {
  let text = "";
  for await (const piece of served.generate({ prompt: "It was a", maxTokens: 24 })) text += piece.text;
  return text;
}

describe("a cluster of a synthetic model", () => {
  it("answers as one process does where attention is exact, and in its own way where the latent is cut", async () => {
    const engine = await Engine.load({ model, device: "wasm" });
    const expected = await greedy(engine);
    await engine.close();
    await withCluster({ model, decode: { ranks: 2, attention: "mla" } }, async (cluster) => assertEquals(await greedy(cluster), expected));
    await withWorkersHere({ model, decode: { ranks: 2 } }, async (cluster) => assert((await greedy(cluster)).length > 0));
  });

  it("says where the time of its steps goes, of every worker", () =>
    withCluster({ model, decode: { ranks: 2 } }, async (cluster) => {
      await greedy(cluster);
      const { steps, units } = await cluster.describe();
      // The first token comes of the prompt.
      assertEquals(steps.steps, 23);
      assert(steps.totalMs >= steps.workerMs && steps.workerMs >= steps.computeMs && steps.betweenMs > 0 && steps.tellMs > 0, JSON.stringify(steps));
      const parts = (role: "prefill" | "decode") =>
        units.filter((unit) => unit.role === role).flatMap(({ workers }) => workers.map(({ stats }) => stats!.parts[role]));
      assertEquals([...parts("decode"), ...parts("prefill")].map(({ steps }) => steps), [23, 23, 1]);
      for (const { recordMs, readbackMs, peerMs, sumMs, handoffMs, restMs, deviceMs, submissions } of parts("decode")) {
        // Two sums a layer and the answer.
        assertEquals([submissions, handoffMs, deviceMs], [23 * 5, 0, null]);
        const whole = recordMs + readbackMs + peerMs + sumMs + restMs;
        assert(recordMs > 0 && peerMs > 0 && sumMs > 0 && whole <= steps.totalMs, `${whole} of ${steps.totalMs}`);
      }
      assert(parts("prefill")[0].handoffMs > 0);
      const metrics = new ServerMetrics({
        loading: () => ({ ready: true, loadedBytes: 0, totalBytes: 0 }),
        uncaught: () => 2,
        cluster: () => cluster.describe(),
      });
      const { text } = await metrics.expose();
      assertStringIncludes(text, 'latentmesh_work_total{unit="decode-0",rank="1",phase="decode"} 23');
      assertStringIncludes(text, 'latentmesh_work_seconds_total{unit="decode-0",rank="0",phase="decode",part="peer"}');
      assertStringIncludes(text, 'latentmesh_decode_step_seconds_total{part="between"}');
      assertStringIncludes(text, "latentmesh_uncaught_errors_total 2");
    }));
});
