import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Config } from "../../../cluster/config/config.ts";
import { freeForPrefill } from "../../../cluster/planning/prefill_device.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { MemoryOf } from "../../../kernels/device/free_memory.ts";

const free = (config: Config, memory: Partial<Record<string, number>>) =>
  freeForPrefill(resolveSettings({}, config, () => undefined), {
    freeMemory: (of: MemoryOf) => {
      const bytes = memory[String(of)];
      return bytes === undefined ? Promise.reject(new LatentmeshError("device_unavailable", "unknown")) : Promise.resolve(bytes);
    },
  });

describe("what a prefill worker may count on", () => {
  it("is its part of the GPU that it shares, and the least of several", async () => {
    // One prefill worker and two decode ranks somewhere.
    assertEquals(await free({ decode: { ranks: 2 } }, { any: 300 }), 100);
    const hosts = (gpus: number[]) => ({ hosts: [{ name: "local", gpus }] });
    // Each on a GPU of its own.
    const gpus = { 0: 500, 1: 600, 2: 700 };
    const own = await free({ decode: { ranks: 2 }, cluster: hosts([0, 1, 2]) }, gpus);
    assertEquals([500, 600, 700].includes(own!), true);
    // Two units on two GPUs with four decode ranks: three workers on each.
    assertEquals(await free({ decode: { ranks: 4 }, prefill: { workers: 2 }, cluster: hosts([0, 1]) }, { 0: 900, 1: 600 }), 200);
  });

  it("is not known where nobody can tell", async () => {
    assertEquals(await free({}, {}), null);
    assertEquals(
      await free({
        decode: { ranks: 3 },
        cluster: { hosts: [{ name: "here" }, { name: "far", join: true }], listen: "127.0.0.1:7000", token: "0123456789abcdef" },
      }, {
        any: 300,
      }),
      null,
    );
  });
});
