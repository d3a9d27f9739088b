/**
 * Decode on matrix units: every row gets the bits that it has alone, and nearly those that it has in f32. On machines without them they are emulated.
 */
import { assert, assertEquals } from "@std/assert";
import { TracingDevice } from "../../bench/roofline/tracing_device.ts";
import { syntheticWeights } from "../../bench/synthetic.ts";
import { configOf } from "../../core/model/synthetic/shapes.ts";
import type { Device } from "../../kernels/device.ts";
import { Model } from "../../workers/model.ts";
import { relativeError } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";

const ROWS = 19;

/** One dense layer and one with experts, of which some have more rows than matrix units multiply at a time. */
const CONFIG = JSON.stringify({
  ...JSON.parse(configOf("v2-lite", 2)),
  vocab_size: 90,
  hidden_size: 64,
  num_attention_heads: 2,
  kv_lora_rank: 32,
  qk_nope_head_dim: 16,
  v_head_dim: 16,
  qk_rope_head_dim: 16,
  intermediate_size: 80,
  moe_intermediate_size: 24,
  n_routed_experts: 3,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
});

async function createModel(device: Device, decodeRows: number): Promise<Model> {
  return await Model.create(device, await syntheticWeights(device, CONFIG, "keep"), {
    cacheDtype: "f16",
    maxTokens: ROWS * 64,
    maxContext: 64,
    maxSequences: ROWS,
    limits: { prefillRows: 1, decodeRows, window: 1, logitRows: decodeRows },
  });
}

type Tokens = readonly [number, number];

/** Logits of two steps, each with a token of every sequence: [sequences][2 × vocabulary]. */
async function decode(model: Model, sequences: readonly Tokens[]): Promise<Float32Array[]> {
  const { vocabSize } = model.spec;
  const open = sequences.map((tokens) => ({ tokens, sequence: model.cache.open() }));
  const logits = open.map(() => new Float32Array(2 * vocabSize));
  for (const position of [0, 1]) {
    for (const { sequence } of open) model.cache.grow(sequence, 1);
    model.record({ phase: "decode", rows: open.map(({ tokens, sequence }) => ({ token: tokens[position], position: sequence.length++, sequence })) });
    model.head.recordLogits("decode", 0, open.length);
    const all = await model.head.logits(open.length);
    logits.forEach((ofRow, row) => ofRow.set(all.subarray(row * vocabSize, (row + 1) * vocabSize), position * vocabSize));
  }
  for (const { sequence } of open) model.cache.close(sequence);
  return logits;
}

describeOnDevices("decode on matrix units", (kind) => {
  itOnUnits(kind)("gives each row of a batch the bits that it has alone, nearly those of f32", async () => {
    const device = new TracingDevice(unitsOf(await openTestDevice(kind)));
    const sequences = Array.from({ length: ROWS }, (_, i) => [1 + i, 80 - i] as const);
    const inF32 = await decode(await createModel(device, 4), sequences.slice(0, 4));
    assert(device.take().every(({ kernel }) => !kernel.name.includes("batch_units")), "a model that decodes few rows computes in f32");
    const model = await createModel(device, ROWS);
    await model.warmUp("decode");
    const warm = new Set(device.take().map(({ bound }) => bound));
    const together = await decode(model, sequences);
    const used = device.take();
    assertEquals(used.filter(({ bound }) => !warm.has(bound)).map(({ kernel }) => kernel.name), [], "all of it was warm");
    // Projections of queries and latents, of values, and of the output; then those of each kind of feed-forward block, and the vocabulary's.
    const [attention, dense] = [["batch_units+batch_units", "batch_units", "batch_units"], ["batch_units", "batch_units"]];
    const experts = ["matvec+batch_units", "moe_route+batch_units", "batch_units", "batch_units"];
    const step = [...attention, ...dense, ...attention, ...experts, "batch_units"];
    assertEquals(used.map(({ kernel }) => kernel.name).filter((name) => /matvec|units/.test(name)), [...step, ...step]);
    for (const rows of [[0], [7], [18], [3, 4, 5], [...Array(17).keys()]]) {
      assertEquals(await decode(model, rows.map((row) => sequences[row])), rows.map((row) => together[row]), `rows ${rows}`);
    }
    const error = relativeError(together.slice(0, 4).flatMap((logits) => [...logits]), inF32.flatMap((logits) => [...logits]));
    assert(error > 0 && error < 3e-3, `${error} from f32`);
    await device.close();
  });
});
