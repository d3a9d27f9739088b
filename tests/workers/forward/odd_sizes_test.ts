/**
 * Sizes that divide nothing: odd head counts and widths, several files, group-limited routing, with and without query compression and shared experts. Prefill
 * (expanded) and decode (absorbed) are two ways to the same logits, and all devices must agree with the CPU.
 */
import { it } from "@std/testing/bdd";
import { assert } from "@std/assert";
import { relativeError } from "../../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../../support/devices.ts";
import { loadModel } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { Random } from "../../../bench/support/random.ts";
import { ODD_CONFIG, ODD_OUTPUT_NORM_CONFIG, ODD_SPARSE_CONFIG, type OddConfig, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";

const CONFIGS: Record<string, OddConfig> = {
  "group-limited routing and query compression": ODD_CONFIG,
  "no query compression, no shared expert, every layer routed": {
    ...ODD_CONFIG,
    q_lora_rank: null,
    n_shared_experts: null,
    first_k_dense_replace: 0,
    topk_method: "greedy",
  },
  "sparse attention": ODD_SPARSE_CONFIG,
  "experts whose output is normalised": ODD_OUTPUT_NORM_CONFIG,
};

describeOnDevices("odd sizes", (kind) => {
  for (const [name, config] of Object.entries(CONFIGS)) {
    it(name, async () => {
      const directory = await writeRandomCheckpoint(config);
      const random = new Random();
      const tokens = Array.from({ length: 75 }, () => random.below(config.vocab_size));
      const run = async (on: typeof kind, phase: "prefill" | "decode", chunk: number) => {
        const device = await openTestDevice(on);
        try {
          const model = await loadModel(device, "deepseek-v3-tiny", { directory, limits: { window: 32 }, maxContext: tokens.length });
          return (await runSequence(model, tokens, phase, chunk)).logits;
        } finally {
          await device.close();
        }
      };
      try {
        const expected = await run("cpu", "prefill", Infinity);
        assert(expected.every(Number.isFinite), "finite");
        for (const [phase, chunk] of [["prefill", 20], ["decode", 3]] as const) {
          const error = relativeError(await run(kind, phase, chunk), expected);
          assert(error < 2e-5, `${phase}: ${error}`);
        }
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    });
  }
});
