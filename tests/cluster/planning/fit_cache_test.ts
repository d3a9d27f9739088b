/**
 * `cache.memory`: caches as large as what devices have left.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { RunningCluster } from "../../../cluster/cluster.ts";
import { planCluster } from "../../../cluster/commands/plan.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import { tokensThatFit } from "../../../cluster/planning/fit_cache.ts";
import { freeMemory, freeOf } from "../../../kernels/device/free_memory.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { WASM_MEMORY_BYTES } from "../../../core/device_kind.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { SEED } from "../../../bench/support/random.ts";

const rank = (role: "prefill" | "decode", cacheBytes = 0) => ({
  role,
  weightBytes: 1000,
  activationBytes: 500,
  cacheBytes,
  promptCacheBytes: 0,
  cachedBytesPerToken: 10,
});

describe("cache.memory", () => {
  it("gives workers of one device together no more than the fraction of what is left beside them", () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.double({ min: 0.01, max: 1, noNaN: true }), fc.integer({ min: 1, max: 4 }), (free, fraction, decode) => {
        const ranks = [...Array.from({ length: decode }, () => rank("decode")), rank("prefill")];
        const allows = { fraction, prefillTokens: undefined, bindings: Infinity };
        const needed = ranks.length * 1500;
        const most = (free - needed) * fraction / (ranks.length * 10);
        if (most < 64) {
          assertThrows(() => tokensThatFit(free, ranks, allows), LatentmeshError, "before they cache anything");
          return;
        }
        const tokens = tokensThatFit(free, ranks, allows);
        assert(tokens <= most && tokens > most - 1, `${tokens} of ${most}`);
      }),
      { seed: SEED },
    );
    const fixed = { fraction: 1, prefillTokens: 200, bindings: Infinity };
    assertEquals(tokensThatFit(10_000, [rank("decode"), rank("prefill", 2000)], fixed), 500, "what prefill units cache may be fixed");
    assertEquals(tokensThatFit(10_000, [{ ...rank("decode"), promptCacheBytes: 2000 }], fixed), 650, "whole prompts beside slices are");
  });

  it("gives no rank more than its bindings hold, whatever the others hold of each token", () => {
    const [wide, narrow] = [{ ...rank("prefill"), cachedBytesPerToken: 20 }, rank("decode")];
    const allows = { fraction: 1, prefillTokens: undefined, bindings: 2000 };
    assertEquals(tokensThatFit(1e6, [narrow], allows), 200);
    assertEquals(tokensThatFit(1e6, [narrow, wide], allows), 100, "a prefill unit that caches as much as groups");
    // One that caches less leaves groups what their own bindings hold.
    assertEquals(tokensThatFit(1e6, [narrow, { ...wide, cacheBytes: 20 * 64 }], { ...allows, prefillTokens: 64 }), 200);
  });

  it("reads what nvidia-smi says", () => {
    const two = "0, 81043\n1, 1024\n";
    assertEquals([freeOf(two, 1), freeOf("0, 512\n", null), freeOf(two, "any")], [2 ** 30, 2 ** 29, 2 ** 30]);
    assertThrows(() => freeOf(two, null), LatentmeshError, "list them with --gpus");
    assertThrows(() => freeOf(two, 2), LatentmeshError, "says nothing of GPU 2");
    assertThrows(() => freeOf("0, [N/A]\n", 0), LatentmeshError, "says nothing of GPU 0");
  });

  it("plans the tokens that fit, and refuses where that cannot be known", async () => {
    const free = await freeMemory("host");
    const services = { ...clusterServices, freeMemory: () => Promise.resolve(free) };
    const settings = (config: Parameters<typeof resolveSettings>[0]) => resolveSettings({ device: "cpu", ...config }, {}, () => undefined);
    const { ranks } = await planCluster(settings({ cache: { memory: 0.05 } }), services);
    const cached = ranks.reduce((sum, { cacheBytes }) => sum + cacheBytes, 0);
    const rest = free - ranks.reduce((sum, { weightBytes, activationBytes }) => sum + weightBytes + activationBytes, 0);
    assert(cached <= 0.05 * rest && cached > 0.04 * rest, `${cached} of ${rest}`);
    const remote = settings({
      cache: { memory: 0.5 },
      cluster: { hosts: [{ name: "a" }, { name: "b", join: true }], listen: "127.0.0.1:7000", token: "0123456789abcdef" },
    });
    await assertRejects(() => planCluster(remote, services), LatentmeshError, "other hosts");
    const poor = { ...services, freeMemory: () => Promise.resolve(1e6) };
    const short = await assertRejects(() => planCluster(settings({ cache: { memory: 1 } }), poor), LatentmeshError, "a device has 1.00 MB left");
    const silent = { ...services, freeMemory: () => Promise.reject(new LatentmeshError("device_unavailable", "nvidia-smi is not installed")) };
    const unknown = await assertRejects(() => planCluster(settings({ cache: { memory: 1 } }), silent), LatentmeshError, "use cache.maxTokens");
    assertEquals([short.code, unknown.code], ["out_of_memory", "invalid_config"]);
  });

  it("gives no worker on device wasm more than a WebAssembly memory holds", async () => {
    const services = { ...clusterServices, freeMemory: () => Promise.resolve(1e12) };
    for (const config of [{ mixed: { workers: 1 } }, { decode: { ranks: 2 } }]) {
      const { ranks } = await planCluster(resolveSettings({ device: "wasm", cache: { memory: 1 }, ...config }, {}, () => undefined), services);
      const largest = Math.max(...ranks.map(({ weightBytes, activationBytes, cacheBytes }) => weightBytes + activationBytes + cacheBytes));
      // Kernels have memory for a run, and threads theirs, beside what is planned.
      assert(largest < 0.93 * WASM_MEMORY_BYTES && largest > WASM_MEMORY_BYTES / 2, `${largest} bytes`);
    }
  });

  it("sizes the caches of a cluster that runs", async () => {
    const settings = resolveSettings({ device: "cpu", cache: { memory: 0.5 } }, {}, () => undefined);
    const { ranks } = await planCluster(resolveSettings({ device: "cpu", cache: { maxTokens: 2048 } }, {}, () => undefined), clusterServices);
    const needed = ranks.reduce((sum, { weightBytes, activationBytes }) => sum + weightBytes + activationBytes, 0);
    const perToken = ranks.reduce((sum, { cachedBytesPerToken }) => sum + cachedBytesPerToken, 0);
    const freeMemory = () => Promise.resolve(needed + 2 * 4096 * perToken);
    const cluster = await RunningCluster.launch(settings, { ...clusterServices, freeMemory });
    const { units } = await cluster.describe();
    assertEquals(units.map(({ cache }) => cache.blocks), [64, 64], "4096 tokens in blocks of 64");
    await cluster.close();
  });
});
