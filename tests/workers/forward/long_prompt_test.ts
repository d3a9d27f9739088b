/**
 * Prompts with more different parameters than a device holds at a time.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { absence, openDenoDevice } from "../../support/devices.ts";
import { loadModel } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { itOnNull, openNullDevice } from "../../support/null_device.ts";
import { ODD_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";

describe("long prompt", () => {
  (absence("deno") === null ? it : it.skip)("goes out in pieces, with the same bits", async () => {
    const tokens = Array.from({ length: 200 }, (_, i) => 3 + i);
    const run = async (slots?: number) => {
      const { device } = await openDenoDevice({ uniforms: { slots } });
      const model = await loadModel(device, "deepseek-v2-lite-tiny", { limits: { window: 8 } });
      const { logits } = await runSequence(model, tokens, "prefill", 100);
      await device.close();
      return logits;
    };
    assertEquals(await run(16), await run());
  });

  itOnNull("may have as many windows and layers as it has", async () => {
    const context = 16_384;
    const directory = await writeRandomCheckpoint({ ...ODD_CONFIG, num_hidden_layers: 12, max_position_embeddings: context });
    const { device } = await openNullDevice();
    try {
      // In the last chunk, every layer's 4096 windows differ in two parameter sets.
      const limits = { prefillRows: 4096, decodeRows: 1, window: 4, logitRows: 1 };
      const model = await loadModel(device, "deepseek-v2-lite-tiny", { directory, maxTokens: context, maxContext: context, limits });
      const sequence = model.cache.open();
      model.cache.grow(sequence, context);
      const start = context - limits.prefillRows;
      const rows = Array.from({ length: limits.prefillRows }, (_, i) => ({ token: 5, position: start + i, sequence }));
      const before = { ...device.counters };
      model.record({ phase: "prefill", rows });
      device.submit();
      await device.settle();
      assertEquals(device.counters.submissions - before.submissions, 1);
      assert(device.counters.dispatches - before.dispatches > 12 * 4096 * 2);
      model.cache.close(sequence);
    } finally {
      await device.close();
      await Deno.remove(directory, { recursive: true });
    }
  });
});
