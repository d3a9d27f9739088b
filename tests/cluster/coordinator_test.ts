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
    const route = await coordinator.acquire(new AbortController().signal);
    const [{ decode }, error] = [route, new LatentmeshError("timeout", "a rank was silent")];
    const first = decode.epoch;
    coordinator.report(route, error, first);
    await until(() => coordinator.usable(route));
    assertEquals(decode.epoch, first + 1);
    coordinator.report(route, error, first);
    assertEquals([decode.epoch, coordinator.usable(route)], [first + 1, true]);
    coordinator.release(route);
    await coordinator.close();
  });
});
