/**
 * Prefill on matrix units, which are emulated: the whole path, with keys and values in f16 and tiles by the length of a chunk.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { parseModelConfig } from "../../../core/model/config.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { partition, UNCUT } from "../../../core/tpla/partition.ts";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { relativeError } from "../../support/compare.ts";
import { loadModel } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { ODD_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";
import { EmulatedDevice } from "../../support/wgsl/emulated_device.ts";

/** Whole steps of matrix units everywhere. */
const CONFIG = {
  ...ODD_CONFIG,
  vocab_size: 64,
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  kv_lora_rank: 64,
  q_lora_rank: null,
  qk_nope_head_dim: 16,
  qk_rope_head_dim: 16,
  v_head_dim: 32,
  intermediate_size: 64,
  moe_intermediate_size: 32,
  n_routed_experts: 4,
  n_shared_experts: null,
  num_experts_per_tok: 2,
};

/** What a rank with whole latents keeps under another basis. */
function underBasis(): LoadShard {
  const spec = parseModelConfig(JSON.stringify(CONFIG), "config.json");
  return { shape: partition(spec, UNCUT)[0], bases: Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null)) };
}

describe("prefill on matrix units", () => {
  for (const [what, shard] of Object.entries({ "": undefined, " under another basis of the latent": underBasis() })) {
    it(`is nearly what it is in f32, with the same bits for any chunk size${what}`, async () => {
      const directory = await writeRandomCheckpoint(CONFIG);
      try {
        const options = { cacheDtype: "f16", directory, limits: { window: 32 }, shard } as const;
        const tokens = Array.from({ length: 70 }, (_, i) => (i * 7) % CONFIG.vocab_size);
        const plain = await runSequence(await loadModel(new CpuDevice(), "tiny-mla", options), tokens, "prefill", Infinity);
        const model = await loadModel(new EmulatedDevice(), "tiny-mla", options);
        assert(model.attendsInHalves, "keys and values are in f16");
        const whole = await runSequence(model, tokens, "prefill", Infinity);
        const error = relativeError(whole.logits, plain.logits);
        assert(error > 0 && error < 3e-3, `${error} from f32`);
        assertEquals((await runSequence(model, tokens, "prefill", 37)).logits, whole.logits);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    });
  }

  it("is not for checkpoints in float32, as they are or under another basis", async () => {
    const directory = await writeRandomCheckpoint(CONFIG, { dtype: "F32" });
    try {
      for (const shard of [undefined, underBasis()]) {
        const { attendsInHalves } = await loadModel(new EmulatedDevice(), "tiny-mla", { cacheDtype: "f16", directory, shard });
        assert(!attendsInHalves, "f16 would lose what the file holds");
      }
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});
