/**
 * How a model is cut for the units of a cluster, where ranks are more than heads.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { planCluster } from "../../../cluster/commands/plan.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import type { Config } from "../../../cluster/config/config_type.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { fixtureDirectory } from "../../support/fixtures.ts";

/** Four heads. */
const model = fixtureDirectory("deepseek-v2-lite-tiny");
const plan = ({ decode, ...config }: Config) =>
  planCluster(
    resolveSettings({ device: "cpu", model, decode: { ranks: 5, basis: "hadamard", ...decode }, ...config }, {}, () => undefined),
    clusterServices,
  );

describe("a TPLA group of more ranks than heads", () => {
  it("generates from as many slices, whose prompts a prefill unit computes, or each rank by itself", async () => {
    for (const config of [{}, { prefill: { workers: 0 }, decode: { feedForward: "replicated" } }] satisfies Config[]) {
      const { config: { decode }, ranks } = await plan(config);
      assertEquals([decode!.latentGroups, ranks.filter(({ role }) => role !== "prefill").length], [5, 5]);
    }
  });

  it("computes no prompts among ranks that would have to split heads for that, and says what to do", async () => {
    const error = await assertRejects(() => plan({ prefill: { workers: 0 } }), LatentmeshError, "Cannot compute prompts among 5 ranks");
    assertEquals((error as LatentmeshError).param, "decode.ranks");
  });
});
