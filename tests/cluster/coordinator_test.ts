/**
 * What a coordinator makes of failures that are reported to it.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { clusterServices } from "../../cluster/compose.ts";
import { Coordinator } from "../../cluster/coordinator.ts";
import { loadClusterModel } from "../../cluster/load_model.ts";
import { resolveSettings } from "../../cluster/settings.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { until } from "../support/cluster.ts";
import { fixtureDirectory } from "../support/fixtures.ts";

describe("a coordinator", () => {
  it("begins a new epoch when the current one fails, and not for one that is over", async () => {
    const settings = resolveSettings({}, { model: fixtureDirectory("tiny-mla"), device: "cpu", decode: { ranks: 1 } }, () => undefined);
    const coordinator = await Coordinator.start(settings, await loadClusterModel(settings, clusterServices), clusterServices);
    const events: string[] = [];
    coordinator.attach({
      up: ({ name, epoch }, fresh) => events.push(`${name} is up in epoch ${epoch}${fresh ? ", empty" : ""}`),
      down: ({ name }) => events.push(`${name} is down`),
      linked: () => events.push("linked"),
    });
    const [decode, prefill] = coordinator.units;
    const error = new LatentmeshError("timeout", "a rank was silent");
    const first = decode.epoch;
    coordinator.report(decode, error, first);
    await until(() => coordinator.usable(prefill, decode));
    assertEquals(decode.epoch, first + 1);
    coordinator.report(decode, error, first);
    assertEquals([decode.epoch, coordinator.usable(prefill, decode)], [first + 1, true]);
    assertEquals(events, [
      "decode-0 is up in epoch 1, empty",
      "prefill-0 is up in epoch 1, empty",
      "linked",
      "decode-0 is down",
      // The same process: what it caches is still there.
      "decode-0 is up in epoch 2",
      "linked",
    ]);
    await coordinator.close();
  });
});
