/**
 * Levels of four bits in a model of many layers, which sums up what each of them is off by: on device `wasm`, where inputs of few rows are split into integers, as little
 * as the same values in float32 are.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { exportGguf, exportUnpacked } from "../../../bench/gguf/export.ts";
import { Random } from "../../../bench/support/random.ts";
import { GgufFiles } from "../../../core/model/gguf/gguf_files.ts";
import type { DeviceKind } from "../../../kernels/device/device.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { relativeError } from "../../support/compare.ts";
import { loadRanks } from "../../support/cut_models.ts";
import { openTestDevice } from "../../support/devices.ts";
import { runSequence } from "../../support/forward.ts";
import { memoryFolder } from "../../support/gguf.ts";
import { ODD_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";

/** As many layers as DeepSeek-V2-Lite has, of its form. */
const CONFIG = {
  ...ODD_CONFIG,
  hidden_size: 128,
  num_hidden_layers: 27,
  num_attention_heads: 2,
  kv_lora_rank: 128,
  q_lora_rank: null,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 16,
  v_head_dim: 32,
  intermediate_size: 256,
  moe_intermediate_size: 128,
  n_routed_experts: 2,
  n_shared_experts: 1,
  num_experts_per_tok: 1,
  n_group: 1,
  topk_group: 1,
  topk_method: "greedy",
};

it("levels are as exact as float32 on wasm through 27 layers, token by token", async () => {
  const directory = await writeRandomCheckpoint(CONFIG);
  try {
    await Deno.writeTextFile(`${directory}/tokenizer.json`, JSON.stringify({ model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] } }));
    using files = new DirectoryFiles(directory);
    const bytesOf = async (parts: AsyncIterable<Uint8Array<ArrayBuffer>>) =>
      new Uint8Array(await new Blob(await Array.fromAsync(parts)).arrayBuffer());
    const [packed, unpacked] = [await bytesOf(exportGguf(files, "Q4_0")), await bytesOf(exportUnpacked(files, "Q4_0"))];
    const tokens = Array.from({ length: 16 }, ((random) => () => random.below(CONFIG.vocab_size))(new Random()));
    const logitsOf = async (kind: DeviceKind, bytes: Uint8Array<ArrayBuffer>) => {
      const device = await openTestDevice(kind);
      try {
        const { ranks: [model] } = await loadRanks(device, new GgufFiles(memoryFolder({ "m.gguf": bytes }), "m.gguf"), null);
        return [(await runSequence(model, tokens, "decode", 3)).logits, (await runSequence(model, tokens, "decode", 1)).logits];
      } finally {
        await device.close();
      }
    };
    // Device `cpu` adds up in float64.
    const [exact] = await logitsOf("cpu", unpacked);
    const [levels, oneByOne] = await logitsOf("wasm", packed);
    assertEquals(oneByOne, levels);
    const [offOfLevels, offOfFloats] = [levels, (await logitsOf("wasm", unpacked))[0]].map((logits) => relativeError(logits, exact));
    if (Deno.env.has("TEST_VERBOSE")) console.error(offOfLevels, offOfFloats);
    assert(offOfLevels < 5e-6 && offOfLevels < 2 * offOfFloats, `${offOfLevels}, where floats are off by ${offOfFloats}`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
