/**
 * How a model is cut for the units of a cluster, where ranks are more than heads.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { planCluster } from "../../../cluster/commands/plan.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import type { Config } from "../../../cluster/config/config_type.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { withWorkersHere } from "../../support/cluster.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

/** Four heads. */
const model = fixtureDirectory("deepseek-v2-lite-tiny");
const plan = ({ decode, ...config }: Config) =>
  planCluster(
    resolveSettings({ device: "cpu", model, decode: { ranks: 5, basis: "hadamard", ...decode }, ...config }, {}, () => undefined),
    clusterServices,
  );

describe("a TPLA group of more ranks than heads", () => {
  it("generates from as many slices, whose prompts a prefill unit computes, or each rank by itself", async () => {
    for (const config of [{}, ...(["replicated", "auto"] as const).map((feedForward) => ({ prefill: { workers: 0 }, decode: { feedForward } }))]) {
      const { config: { decode }, ranks } = await plan(config);
      assertEquals([decode!.latentGroups, decode!.feedForward, ranks.filter(({ role }) => role !== "prefill").length], [
        5,
        "prefill" in config ? "replicated" : "sharded",
        5,
      ]);
    }
  });

  it("computes no prompts among ranks that are told to split heads for that, and says what to do", async () => {
    const told = { prefill: { workers: 0 }, decode: { feedForward: "sharded" as const } };
    const error = await assertRejects(() => plan(told), LatentmeshError, "Cannot compute prompts among 5 ranks");
    assertEquals((error as LatentmeshError).param, "decode.ranks");
  });

  it("is brought up where blocks can only be whole, and where that is left to it", async () => {
    await withWorkersHere({ model, decode: { ranks: 5, basis: "hadamard" }, prefill: { workers: 0 } }, async (cluster) => {
      const pieces = await Array.fromAsync(cluster.generate({ prompt: [1, 2, 3], maxTokens: 2, ignoreEos: true }));
      assertEquals(pieces.flatMap(({ tokens }) => tokens).length, 2);
      assert(cluster.summary.includes("feed-forward blocks whole on every rank"), cluster.summary);
    });
  });
});
