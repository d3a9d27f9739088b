/**
 * Decode on matrix units: every row gets the bits that it has alone, and nearly those that it has in f32. On machines without them they are emulated.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { TracingDevice } from "../../../bench/roofline/tracing_device.ts";
import { syntheticWeights } from "../../../bench/synthetic.ts";
import { configOf } from "../../../core/model/synthetic/shapes.ts";
import type { WeightPolicy } from "../../../core/model/matrix_source.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, type RankShape } from "../../../core/tpla/partition.ts";
import type { Device, DeviceLimits } from "../../../kernels/device/device.ts";
import { LocalGroup } from "../../../workers/local/local_group.ts";
import type { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import { Model } from "../../../workers/forward/model.ts";
import { relativeError } from "../../support/compare.ts";
import { nullAbsence, openNullDevice } from "../../support/null_device.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../../support/devices.ts";
import { tested } from "../../support/extent.ts";

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

/** Of two tokens, rows attend to one. */
const SPARSE = { model_type: "deepseek_v32", q_lora_rank: 40, index_topk: 1, index_head_dim: 32, index_n_heads: 16 };

interface How {
  /** Longest sequence. */
  readonly context?: number;
  readonly weights?: WeightPolicy;
  readonly shape?: RankShape;
}

async function createModel(device: Device, config: object, decodeRows: number, { weights = "keep", shape, context = 64 }: How = {}): Promise<Model> {
  const shard = shape === undefined ? undefined : { shape, bases: null };
  return await Model.create(device, await syntheticWeights(device, JSON.stringify(config), weights, shard), {
    group: { ...ALONE, rank: shape?.rank ?? 0, ranks: shape === undefined ? 1 : 2 },
    cacheDtype: "f16",
    maxTokens: decodeRows * context,
    maxContext: context,
    maxSequences: decodeRows,
    limits: { prefillRows: 1, decodeRows, window: 1, logitRows: decodeRows },
  });
}

type Tokens = readonly [number, number];

/** Logits of two steps, each with a token of every sequence: [sequences][2 × vocabulary]. @param before tokens of each that are zeros */
async function decode(model: Model, sequences: readonly Tokens[], before = 0): Promise<Float32Array[]> {
  const { vocabSize } = model.spec;
  const open = sequences.map((tokens) => ({ tokens, sequence: beginAfter(model, before) }));
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

/** A sequence behind tokens that are zeros. */
function beginAfter({ cache, device }: Model, before: number): CachedSequence {
  const sequence = cache.open();
  if (before === 0) return sequence;
  for (const pages of cache.layers) device.write(pages, 0, new Uint8Array(pages.bytes));
  cache.grow(sequence, before);
  sequence.length = before;
  return sequence;
}

/** Some tokens of so many sequences. */
function sequencesOf(rows: number): readonly Tokens[] {
  return Array.from({ length: rows }, (_, i) => [1 + i % 80, 80 - i % 80] as const);
}

/**
 * Kernels of a step after each other: what comes before the layers of a block, its layers, and the vocabulary. Whoever writes what matrix units take has it in f16, so
 * that nothing is rounded by itself, and the router normalises one row for all who take it.
 */
function stepOf(rows: number): readonly string[] {
  const attention = ["rms_norm", "batch_units+batch_units", "rope_store+absorb", "latent_decode", "latent_merge", "batch_units", "batch_units"];
  const dense = ["rms_norm", "batch_units", "batch_units"];
  const router = rows === 1 ? ["norm_matvec"] : ["rms_norm", "matvec"];
  const experts = [...router, "moe_route+batch_units", "batch_units+batch_units", "batch_units"];
  return ["embedding", ...attention, ...dense, ...attention, ...experts, "moe_combine", "residual_add", "rms_norm", "batch_units"];
}

const absent = nullAbsence;
const allowed = "decode on matrix units binds what WebGPU allows, in scripts and beside each other";
if (absent !== null) it.skip(`${allowed}: skipped, ${absent}`);
else {
  it(allowed, async () => {
    const device = new TracingDevice((await openNullDevice({ units: true })).device);
    // Subgroups of this device have up to 128 threads, which is more than workgroups of attention, and those that score, have on matrix units; of such widths they
    // have none there.
    const plain = { ...CONFIG, kv_lora_rank: 40 };
    for (const config of [plain, { ...plain, q_lora_rank: 40, n_shared_experts: null }, { ...plain, ...SPARSE, index_n_heads: 3 }]) {
      const model = await createModel(device, config, 19);
      await model.warmUp("prefill");
      await model.warmUp("decode");
      device.take();
      for (const rows of [1, 19, 1, 19]) await decode(model, sequencesOf(rows));
      // One that shares tokens with another, which has nothing to say here.
      const [shape] = partition(model.spec, { ranks: 2, latentGroups: 1, halo: 0, tokenShares: 2 });
      const shared = await createModel(device, config, 19, { shape, context: 128 });
      await shared.warmUp("decode");
      for (const rows of [1, 19]) await decode(shared, sequencesOf(rows));
      assert(device.take().some(({ kernel }) => kernel.name === "batch_units+batch_units"));
    }
    // Whatever Dawn refused is thrown here at the latest.
    await device.settle();
    await device.close();
  });
}

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
    assertEquals(used.map(({ kernel }) => kernel.name), [...stepOf(rows), ...stepOf(rows)]);
    for (const rows of [[0], [7], [18], [3, 4, 5], [...Array(17).keys()]]) {
      assertEquals(await decode(model, rows.map((row) => sequences[row])), rows.map((row) => together[row]), `rows ${rows}`);
    }
    const one = stepOf(1);
    assertEquals(device.take().slice(0, one.length).map(({ kernel }) => kernel.name), one, "of one row");
    const error = relativeError(together.slice(0, 4).flatMap((logits) => [...logits]), inF32.flatMap((logits) => [...logits]));
    assert(error > 0 && error < 3e-3, `${error} from f32`);
    await device.close();
  });

  // What cannot be on matrix units, or not be given in f16, is computed in f32 there, and rounded by itself where the next layer is on them.
  const others: Readonly<
    Record<string, { readonly config: object; readonly rounds: number; readonly limits?: Partial<DeviceLimits>; readonly weights?: WeightPolicy }>
  > = {
    "weights in q8": { config: {}, rounds: 0, weights: "q8" },
    "weights in q4": { config: {}, rounds: 0, weights: "q4" },
    "queries that are compressed": { config: { q_lora_rank: 40 }, rounds: 0 },
    "compressed queries that are no whole octets": { config: { q_lora_rank: 36 }, rounds: 0 },
    "experts that are no whole octets": { config: { moe_intermediate_size: 20 }, rounds: 0 },
    "heads whose values are odd in number": { config: { v_head_dim: 17, num_attention_heads: 8 }, rounds: 2 },
    "rows that are no whole octets": { config: { hidden_size: 60 }, rounds: 3 },
    "matrices in parts": { config: { intermediate_size: 400 }, rounds: 1, limits: { maxBindingBytes: 65536 } },
    "a shared expert in parts": { config: { n_shared_experts: 8 }, rounds: 1, limits: { maxBindingBytes: 40000 } },
    "no shared experts": { config: { n_shared_experts: null }, rounds: 0 },
    "sparse attention": { config: SPARSE, rounds: 0 },
  };
  const stays = ["weights in q4", "rows that are no whole octets", "sparse attention"];
  const tried = Object.entries(others);
  const few = kind === "cpu" ? tested("other kinds of layers", tried, ([what]) => stays.includes(what)) : tried;
  for (const [what, { config, rounds, limits, weights }] of few) {
    test(`takes ${what}`, async () => {
      const device = new TracingDevice(unitsOf(await openTestDevice(kind, limits)));
      const sequences = sequencesOf(6);
      const inF32 = await decode(await createModel(device, { ...CONFIG, ...config }, 4, { weights }), sequences.slice(0, 4));
      const model = await createModel(device, { ...CONFIG, ...config }, 6, { weights });
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

  // Where latents are shared by tokens, the first of two tokens is kept by one rank, and the second by the other.
  const cuts = { "heads": { tokenShares: 1, before: 0, context: 64 }, "tokens": { tokenShares: 2, before: 63, context: 128 } };
  for (const [what, { tokenShares, before, context }] of Object.entries(cuts)) {
    test(`gives rows of a group that shares ${what} the bits that they have alone, nearly those of f32 on one worker`, async () => {
      const device = new TracingDevice(unitsOf(await openTestDevice(kind)));
      const sequences = sequencesOf(6);
      const whole = await createModel(device, CONFIG, 4, { context });
      const inF32 = await decode(whole, sequences.slice(0, 4), before);
      const ranks: Model[] = [];
      for (const shape of partition(whole.spec, { ranks: 2, latentGroups: 1, halo: 0, tokenShares })) {
        ranks.push(await createModel(device, CONFIG, 6, { shape, context }));
      }
      const group = await LocalGroup.create(ranks);
      device.take();
      const decodeOnGroup = async (which: readonly number[]) => {
        const open = which.map((i) => ({ tokens: sequences[i], sequence: ranks.map((model) => beginAfter(model, before)) }));
        const steps: Float32Array[] = [];
        for (const position of [0, 1]) {
          steps.push(await group.step(open.map(({ tokens, sequence }) => ({ token: tokens[position], position: before + position, sequence }))));
        }
        for (const { sequence } of open) group.close(sequence);
        const { vocabSize } = whole.spec;
        return which.map((_, row) => steps.flatMap((logits) => [...logits.subarray(row * vocabSize, (row + 1) * vocabSize)]));
      };
      const together = await decodeOnGroup([0, 1, 2, 3, 4, 5]);
      const names = new Set(device.take().map(({ kernel }) => kernel.name));
      assertEquals([names.has("latent_share"), names.has("latent_merge")], [tokenShares > 1, tokenShares === 1]);
      assert(names.has("sum_rms_norm") && names.has("batch_units") && !names.has("round_input"), [...names].join());
      for (const row of [0, 5]) assertEquals(await decodeOnGroup([row]), [together[row]], `row ${row}`);
      const error = relativeError(together.slice(0, 4).flat(), inF32.flatMap((logits) => [...logits]));
      assert(error > 0 && error < 3e-3, `${error} from f32`);
      await device.close();
    });
  }
});
