/**
 * Decode steps of several rows of a model whose layers are large enough for kernels of their own: each row gets the bits that it has alone.
 */
import { assertEquals } from "@std/assert";
import { TracingDevice } from "../../../bench/roofline/tracing_device.ts";
import { syntheticWeights } from "../../../bench/synthetic.ts";
import { configOf } from "../../../core/model/synthetic/shapes.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { Model } from "../../../workers/forward/model.ts";
import { describeModelsOnDevices, itOnHardware, openTestDevice } from "../../support/devices.ts";

const ROWS = 23;

/** Every kind of layer has as many weights as tiles are for. */
const CONFIG = JSON.stringify({
  ...JSON.parse(configOf("v2-lite", 2)),
  vocab_size: 1100,
  hidden_size: 1024,
  num_attention_heads: 16,
  kv_lora_rank: 256,
  qk_nope_head_dim: 64,
  v_head_dim: 64,
  qk_rope_head_dim: 32,
  intermediate_size: 1024,
  moe_intermediate_size: 256,
  n_routed_experts: 8,
  n_shared_experts: 4,
  num_experts_per_tok: 3,
});

async function createModel(device: Device): Promise<Model> {
  return await Model.create(device, await syntheticWeights(device, CONFIG, "keep"), {
    cacheDtype: "f32",
    maxTokens: ROWS * 64,
    maxContext: 64,
    maxSequences: ROWS,
    limits: { prefillRows: 1, decodeRows: ROWS, window: 1, logitRows: ROWS },
  });
}

/** Logits of two steps, each with a token of every sequence: [sequences][2 × vocabulary]. */
async function decode(model: Model, sequences: readonly (readonly [number, number])[]): Promise<Float32Array[]> {
  const open = sequences.map((tokens) => ({ tokens, sequence: model.cache.open() }));
  const logits = open.map(() => new Float32Array(2 * model.spec.vocabSize));
  for (const position of [0, 1]) {
    for (const { sequence } of open) model.cache.grow(sequence, 1);
    model.record({ phase: "decode", rows: open.map(({ tokens, sequence }) => ({ token: tokens[position], position: sequence.length++, sequence })) });
    model.head.recordLogits("decode", 0, open.length);
    const all = await model.head.logits(open.length);
    logits.forEach((ofRow, row) =>
      ofRow.set(all.subarray(row * model.spec.vocabSize, (row + 1) * model.spec.vocabSize), position * model.spec.vocabSize)
    );
  }
  for (const { sequence } of open) model.cache.close(sequence);
  return logits;
}

describeModelsOnDevices("a batch of many rows", (kind) => {
  itOnHardware(kind)("gives each the bits that it has alone, by kernels that a driver has seen when the model is warm", async () => {
    const device = new TracingDevice(await openTestDevice(kind));
    const model = await createModel(device);
    device.take();
    await model.warmUp("decode");
    const warm = new Set(device.take().map(({ bound }) => bound));
    const sequences = Array.from({ length: ROWS }, (_, i) => [1 + i, 700 - i] as const);
    const alone: Float32Array[] = [];
    for (const sequence of sequences) alone.push(...await decode(model, [sequence]));
    for (const rows of [2, 5, 9, ROWS]) {
      device.take();
      assertEquals(await decode(model, sequences.slice(0, rows)), alone.slice(0, rows), `${rows} rows`);
      const used = device.take();
      assertEquals(used.filter(({ bound }) => !warm.has(bound)).map(({ kernel }) => kernel.name), [], `${rows} rows`);
      if (rows < ROWS) continue;
      // Projections of queries and latents, of values, and of the output; then those of each kind of feed-forward block, and the vocabulary's.
      const pair = "batch_matvec+batch_matvec";
      const [attention, dense] = [[pair, "batch_matvec", "batch_matvec"], ["batch_matvec", "batch_matvec"]];
      const experts = [pair, "moe_route+batch_matvec", "batch_matvec", "batch_matvec"];
      const step = [...attention, ...dense, ...attention, ...experts, "batch_matvec"];
      assertEquals(used.map(({ kernel }) => kernel.name).filter((name) => name.includes("batch_matvec")), [...step, ...step]);
    }
    await device.close();
  });
});
