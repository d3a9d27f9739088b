/**
 * Prefill on matrix units, which are emulated: the whole path, with keys and values in f16 and tiles by the length of a chunk.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { parseModelConfig } from "../../../core/model/config.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { partition, UNCUT } from "../../../core/tpla/partition.ts";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import { TracingDevice } from "../../../bench/roofline/tracing_device.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { planMemory } from "../../../workers/load/plan_memory.ts";
import { relativeError } from "../../support/compare.ts";
import { fewOf, reportLeftOut, tested } from "../../support/extent.ts";
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

  // Keys that are scored in f32, and on matrix units.
  const indexers: readonly [heads: number, width: number, swapped: number][] = [[3, 64, 3], [16, 64, 8]];
  reportLeftOut("half of the chunk sizes of chosen tokens");
  for (const [index_n_heads, index_head_dim, swapped] of tested("kinds of indexers", indexers, ([heads]) => heads === 16)) {
    it(`attends to chosen tokens alone from some position on, with the same bits for any chunk size, ${index_n_heads} heads choosing`, async () => {
      const sparse = {
        model_type: "deepseek_v32",
        topk_method: "noaux_tc",
        n_group: 1,
        topk_group: 1,
        q_lora_rank: 64,
        qk_rope_head_dim: 32,
        index_topk: 8,
        index_head_dim,
        index_n_heads,
      };
      const directory = await writeRandomCheckpoint({ ...CONFIG, ...sparse });
      try {
        const tokens = Array.from({ length: 70 }, (_, i) => (i * 7) % CONFIG.vocab_size);
        const options = { cacheDtype: "f16", directory, limits: { window: 32, keptWindows: 2, prefillRows: 70 }, maxContext: 128 } as const;
        const plain = await runSequence(await loadModel(new CpuDevice(), "tiny-mla", options), tokens, "prefill", Infinity);
        const device = new TracingDevice(new EmulatedDevice());
        const model = await loadModel(device, "tiny-mla", options);
        const whole = await runSequence(model, tokens, "prefill", 70);
        const rowsOf = (name: string) =>
          device.take().filter(({ kernel }) => kernel.name === name).map(({ params: { rows, first_row } }) => [rows, first_row]);
        assertEquals(rowsOf("sparse_prefill"), [[70, 0], [70, 0]], "all rows of a chunk, some of which see too few");
        const planned = {
          ...options,
          limits: model.limits,
          maxTokens: 1024,
          maxSequences: 4,
          model: directory,
          weights: "keep",
          role: "prefill",
        } as const;
        const plan = await planMemory({ ...planned, shape: partition(model.spec, UNCUT)[0], changesBasis: false, lanes: 1, matrixUnits: true });
        assert(plan.weightBytes + plan.cacheBytes + plan.activationBytes >= device.counters.allocatedBytes, "a plan has room for it");
        const row = (run: typeof whole, at: number) => run.logits.subarray(at * CONFIG.vocab_size, (at + 1) * CONFIG.vocab_size);
        const errors = tokens.map((_, at) => relativeError(row(whole, at), row(plain, at)));
        // What rounding has swapped one of three tokens for is another answer.
        const near = errors.filter((error) => error > 0 && error < 3e-3).length;
        assert(near >= tokens.length - swapped, `${tokens.length - near} rows are far from f32`);
        for (const chunk of fewOf([37, 32, 31, 13])) {
          assertEquals((await runSequence(model, tokens, "prefill", chunk)).logits, whole.logits, `chunks of ${chunk}`);
        }
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    });
  }

  it("attends so to more rows than are computed at a time, with the same bits", async () => {
    const small = { num_hidden_layers: 1, first_k_dense_replace: 1, vocab_size: 16, n_shared_experts: 1 };
    const sparse = { model_type: "deepseek_v32", topk_method: "noaux_tc", n_group: 1, topk_group: 1, q_lora_rank: 64, qk_rope_head_dim: 64 };
    const indexer = { index_topk: 1, index_head_dim: 64, index_n_heads: 1, max_position_embeddings: 600 };
    const directory = await writeRandomCheckpoint({ ...CONFIG, ...small, ...sparse, ...indexer });
    try {
      const tokens = Array.from({ length: 530 }, (_, i) => (i * 7) % 16);
      const device = new TracingDevice(new EmulatedDevice());
      const model = await loadModel(device, "tiny-mla", { cacheDtype: "f16", directory, limits: { window: 32, prefillRows: 530 }, maxContext: 576 });
      const whole = await runSequence(model, tokens, "prefill", 530);
      const parts = device.take().filter(({ kernel }) => kernel.name === "sparse_prefill").map((
        { params: { rows, first_row } },
      ) => [rows, first_row]);
      assertEquals(parts, [[13, 5], [512, 18]]);
      assertEquals((await runSequence(model, tokens, "prefill", 300)).logits, whole.logits);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });

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
