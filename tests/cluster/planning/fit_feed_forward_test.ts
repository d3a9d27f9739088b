/**
 * `decode.feedForward: auto`: whole where it fits and pays, shared otherwise, and never a reason not to start.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { planCluster } from "../../../cluster/commands/plan.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import type { Config } from "../../../cluster/config/config.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";

/** What one worker of four layers of V2-Lite takes with everything whole, with some room. */
const WHOLE = 8e9;

async function planned(config: Config, free: number | LatentmeshError, kind: "cpu" | "dawn" = "dawn") {
  const services = {
    ...clusterServices,
    probeDevice: () => Promise.resolve({ kind, description: "made up", reason: "for a test", limits: { maxBindingBytes: 2 ** 31 - 4 } }),
    freeMemory: () => typeof free === "number" ? Promise.resolve(free) : Promise.reject(free),
  };
  const { config: { decode }, collectivesPerToken } = await planCluster(
    resolveSettings({ device: "dawn", ...config }, {}, () => undefined),
    services,
  );
  return `${decode!.feedForward}, ${collectivesPerToken} sums`;
}

describe("decode.feedForward", () => {
  const hosts = [{ name: "here", gpus: [0, 1, 2] }];
  const config = { model: "synthetic:v2-lite?layers=4", decode: { ranks: 2 }, cluster: { hosts } };

  it("auto keeps blocks whole where they fit beside the cache", async () => {
    assertEquals(await planned(config, WHOLE), "replicated, 4 sums");
    assertEquals(await planned(config, WHOLE / 2), "sharded, 8 sums");
    // Three workers on one device need three times as much.
    assertEquals(await planned({ ...config, cluster: { hosts: [{ name: "here" }] } }, WHOLE), "sharded, 8 sums");
    assertEquals(await planned({ ...config, cluster: { hosts: [{ name: "here" }] } }, 3 * WHOLE), "replicated, 4 sums");
  });

  it("auto shares them where that cannot be known, where sums are cheap, and where whole ones take longer", async () => {
    assertEquals(await planned(config, new LatentmeshError("invalid_config", "nvidia-smi is not installed")), "sharded, 8 sums");
    assertEquals(await planned({ ...config, device: "auto" }, 1e12, "cpu"), "sharded, 8 sums");
    const remote = { token: "0123456789abcdef", listen: "127.0.0.1:7000", hosts: [{ name: "a" }, { name: "b", join: true }] };
    assertEquals(await planned({ ...config, cluster: remote }, 1e12), "sharded, 8 sums");
    assertEquals(await planned({ ...config, model: "synthetic:v3?layers=4", decode: { ranks: 4 } }, 1e13), "sharded, 8 sums");
    assertEquals(await planned({ ...config, model: "synthetic:v3?layers=4", decode: { ranks: 4 }, weights: "q4" }, 1e13), "replicated, 4 sums");
    assertEquals(await planned({ ...config, model: "synthetic:v3?layers=4&int4=32", decode: { ranks: 4 } }, 1e13), "replicated, 4 sums");
  });

  it("does as it is told otherwise, and has no sums where there is one rank", async () => {
    assertEquals(await planned({ ...config, decode: { ranks: 2, feedForward: "replicated" } }, 1), "replicated, 4 sums");
    assertEquals(await planned({ ...config, decode: { ranks: 2, feedForward: "sharded" } }, 1e13), "sharded, 8 sums");
    assertEquals(await planned({ ...config, decode: { ranks: 1 } }, 1e13), "undefined, 0 sums");
  });
});
