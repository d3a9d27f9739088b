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

/** One dense layer and one with experts, of which some have more rows than matrix units multiply at a time. */
const CONFIG = {
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
};

async function createModel(device: Device, config: object, decodeRows: number): Promise<Model> {
  return await Model.create(device, await syntheticWeights(device, JSON.stringify(config), "keep"), {
    cacheDtype: "f16",
    maxTokens: decodeRows * 64,
    maxContext: 64,
    maxSequences: decodeRows,
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

/** Some tokens of so many sequences. */
function sequencesOf(rows: number): readonly Tokens[] {
  return Array.from({ length: rows }, (_, i) => [1 + i % 80, 80 - i % 80] as const);
}

// After each other: what comes before the layers of a block, its layers, and the vocabulary. Whoever writes what matrix units take has it in f16, so that a step has no
// dispatch more than one in f32 that normalises its rows.
const ATTENTION = ["batch_units+batch_units", "rope_store+absorb", "latent_decode", "latent_merge", "batch_units", "batch_units"];
const DENSE = ["rms_norm", "batch_units", "batch_units"];
const EXPERTS = ["rms_norm", "matvec+batch_units", "moe_route+batch_units", "batch_units", "batch_units"];
const STEP = [
  "embedding",
  "rms_norm",
  ...ATTENTION,
  ...DENSE,
  "rms_norm",
  ...ATTENTION,
  ...EXPERTS,
  "moe_combine",
  "residual_add",
  "rms_norm",
  "batch_units",
];

describeOnDevices("decode on matrix units", (kind) => {
  const test = itOnUnits(kind);

  test("gives each row of a batch the bits that it has alone, nearly those of f32, without a dispatch more", async () => {
    const rows = 19;
    const device = new TracingDevice(unitsOf(await openTestDevice(kind)));
    const sequences = sequencesOf(rows);
    const inF32 = await decode(await createModel(device, CONFIG, 4), sequences.slice(0, 4));
    assert(device.take().every(({ kernel }) => !kernel.name.includes("batch_units")), "a model that decodes few rows computes in f32");
    const model = await createModel(device, CONFIG, rows);
    await model.warmUp("decode");
    const warm = new Set(device.take().map(({ bound }) => bound));
    const together = await decode(model, sequences);
    const used = device.take();
    assertEquals(used.filter(({ bound }) => !warm.has(bound)).map(({ kernel }) => kernel.name), [], "all of it was warm");
    assertEquals(used.map(({ kernel }) => kernel.name), [...STEP, ...STEP]);
    for (const rows of [[0], [7], [18], [3, 4, 5], [...Array(17).keys()]]) {
      assertEquals(await decode(model, rows.map((row) => sequences[row])), rows.map((row) => together[row]), `rows ${rows}`);
    }
    assertEquals(device.take().slice(0, STEP.length).map(({ kernel }) => kernel.name), STEP, "of one row, too");
    const error = relativeError(together.slice(0, 4).flatMap((logits) => [...logits]), inF32.flatMap((logits) => [...logits]));
    assert(error > 0 && error < 3e-3, `${error} from f32`);
    await device.close();
  });

  // What cannot be on matrix units, or not be given in f16, is computed in f32 there, and rounded by itself where the next layer is on them.
  const others: Readonly<Record<string, { readonly config: object; readonly rounds: number }>> = {
    "queries that are compressed": { config: { q_lora_rank: 40 }, rounds: 0 },
    "compressed queries that are no whole octets": { config: { q_lora_rank: 36 }, rounds: 0 },
    "experts that are no whole octets": { config: { moe_intermediate_size: 20 }, rounds: 0 },
    "heads whose values are odd in number": { config: { v_head_dim: 17, num_attention_heads: 8 }, rounds: 2 },
    "rows that are no whole octets": { config: { hidden_size: 60 }, rounds: 3 },
    "no shared experts": { config: { n_shared_experts: null }, rounds: 0 },
  };
  for (const [what, { config, rounds }] of Object.entries(others)) {
    test(`takes ${what}`, async () => {
      const device = new TracingDevice(unitsOf(await openTestDevice(kind)));
      const sequences = sequencesOf(6);
      const inF32 = await decode(await createModel(device, { ...CONFIG, ...config }, 4), sequences.slice(0, 4));
      const model = await createModel(device, { ...CONFIG, ...config }, 6);
      device.take();
      const together = await decode(model, sequences);
      const names = device.take().map(({ kernel }) => kernel.name);
      assertEquals(names.filter((name) => name === "round_input").length, 2 * rounds);
      assert(names.some((name) => name.includes("batch_units")));
      for (const row of [0, 5]) assertEquals(await decode(model, [sequences[row]]), [together[row]], `row ${row}`);
      const error = relativeError(together.slice(0, 4).flatMap((logits) => [...logits]), inF32.flatMap((logits) => [...logits]));
      assert(error > 0 && error < 3e-3, `${error} from f32`);
      await device.close();
    });
  }
});
