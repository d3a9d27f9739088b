/**
 * What the roofline bench stands on: models without a checkpoint, costs, traces.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { configOf, SHAPES } from "../../bench/synthetic/shapes.ts";
import { fillWeights } from "../../bench/synthetic/fill_weights.ts";
import { syntheticWeights } from "../../bench/synthetic/synthetic_model.ts";
import { tensorShapes } from "../../bench/synthetic/tensor_shapes.ts";
import { multiplyAdd } from "../../bench/roofline/ceilings.ts";
import { readWords } from "../../bench/roofline/read_words.ts";
import { costOf } from "../../bench/roofline/costs.ts";
import { sidesOf, TracingDevice } from "../../bench/roofline/tracing_device.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { queryWidth } from "../../core/model/spec.ts";
import { Model } from "../../workers/model.ts";
import { DirectoryFiles } from "../../workers/model_files.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { fixtureDirectory } from "../support/fixtures.ts";
import { runKernel } from "../support/kernel.ts";
import { Random } from "../support/random.ts";

describe("synthetic models", () => {
  for (const fixture of ["tiny-mla", "deepseek-v2-lite-tiny", "deepseek-v3-tiny"] as const) {
    it(`have the tensors that ${fixture} has`, async () => {
      using files = new DirectoryFiles(fixtureDirectory(fixture));
      const checkpoint = await Checkpoint.open(files);
      const shapes = tensorShapes(parseModelConfig((await files.text("config.json"))!, fixture));
      const names = [...checkpoint.names()].filter((name) => !name.endsWith("_scale_inv"));
      assertEquals([...shapes.keys()].sort(), names.sort());
      for (const [name, shape] of shapes) assertEquals([...checkpoint.info(name).shape], [...shape], name);
    });
  }

  it("come in every shape", () => {
    for (const shape of Object.keys(SHAPES) as (keyof typeof SHAPES)[]) {
      const spec = parseModelConfig(configOf(shape, 3), shape);
      assertEquals([spec.layers, spec.heads, queryWidth(spec) - 64], [3, SHAPES[shape].num_attention_heads, SHAPES[shape].qk_nope_head_dim]);
    }
  });
});

const SMALL = JSON.stringify({
  ...JSON.parse(configOf("v3", 3)),
  vocab_size: 640,
  hidden_size: 128,
  num_attention_heads: 4,
  q_lora_rank: 64,
  kv_lora_rank: 64,
  qk_nope_head_dim: 32,
  v_head_dim: 32,
  qk_rope_head_dim: 16,
  intermediate_size: 256,
  moe_intermediate_size: 64,
  n_routed_experts: 16,
  num_experts_per_tok: 4,
  first_k_dense_replace: 1,
  max_position_embeddings: 512,
});

describeOnDevices("synthetic models", (kind) => {
  for (const weights of ["keep", "q8", "q4"] as const) {
    it(`with weights ${weights} give finite logits, and costs of their steps that add up`, async () => {
      const device = new TracingDevice(await openTestDevice(kind));
      const loaded = await syntheticWeights(device, SMALL, weights);
      const model = await Model.create(device, loaded, {
        cacheDtype: "f32",
        maxTokens: 128,
        maxContext: 128,
        maxSequences: 1,
        limits: { prefillRows: 1, decodeRows: 1, window: 1, logitRows: 1 },
      });
      const sequence = model.cache.open();
      model.cache.grow(sequence, 100);
      device.take();
      model.record({ phase: "decode", rows: [{ token: 3, position: 99, sequence }] });
      model.head.recordLogits("decode", 0, 1);
      const dispatches = device.take();
      const [list] = await model.head.candidates([{ key: 0, position: 99, inverseTemperature: 1 }], 4, false);
      assert([...list.logits, list.logSumExp].every(Number.isFinite) && new Set(list.logits).size > 1, `${list.logits}`);
      const costs = dispatches.map((dispatch) => ({ name: dispatch.kernel.name, ...costOf(dispatch, { rows: 1, context: 100 }) }));
      const attention = costs.filter(({ name }) => name === "latent_decode");
      // Three layers of 100 latents of 64 + 16 floats, and four splits of 4 heads.
      assertEquals(attention.map(({ bytes }) => bytes), new Array(3).fill(100 * 80 * 4 + 4 * 4 * 72 * 4));
      assertEquals(attention[0].flop, 2 * 100 * 4 * (80 + 64));
      // What runs side by side costs what both cost.
      const both = dispatches.find(({ kernel }) => kernel.name === "moe_route+matvec")!;
      const [route, down] = sidesOf(both)!.map((side) => costOf(side, { rows: 1, context: 100 }));
      assert(route.bytes > 0 && down.flop === 2 * 128 * 64);
      assertEquals(costOf(both, { rows: 1, context: 100 }), { bytes: route.bytes + down.bytes, flop: route.flop + down.flop });
      // Routed experts: 4 of them, gate, up and down.
      const expected = 2 * 4 * 3 * 64 * 128;
      const routed = dispatches.filter(({ config }) => (config as { select?: { kind: string } })?.select?.kind === "expert");
      assertEquals(routed.slice(0, 2).reduce((sum, dispatch) => sum + costOf(dispatch, { rows: 1, context: 100 }).flop, 0), expected);
      await device.close();
    });
  }

  it("are made of the same bits that the reference makes", async () => {
    const device = await openTestDevice(kind);
    const cpu = await openTestDevice("cpu");
    const params = { words: 20_000, seed: 7 };
    for (const bits of ["f16", "fp8", "levels", "ones", "scales f16", "scales f32"] as const) {
      const fill = async (on: typeof device) => (await runKernel(on, fillWeights, { bits }, { words: { poison: params.words } }, params)).words.u32;
      assertEquals(await fill(device), await fill(cpu), bits);
    }
    const floats = async (on: typeof device) =>
      (await runKernel(on, fillWeights, { bits: "f32" }, { words: { poison: 9 } }, { words: 9, seed: 7 })).words;
    assertClose((await floats(device)).f32, (await floats(cpu)).f32, 1e-6, "floats");
    const levels = async (seed: number) =>
      (await runKernel(device, fillWeights, { bits: "levels" }, { words: { poison: 4096 } }, { words: 4096, seed })).words.u32;
    const [first, second] = [new Set(await levels(1)), await levels(2)];
    assert(second.filter((word) => first.has(word)).length < 4, "another seed gives other words");
    await device.close();
    await cpu.close();
  });

  it("are measured against ceilings that are computed", async () => {
    const device = await openTestDevice(kind);
    const random = new Random(3);
    const x = new Uint32Array(random.bytes(16 * 5000).buffer);
    const inputs = { x, y: { poison: 2048 * 256 } };
    const { y } = await runKernel(device, readWords, null, inputs, { vectors: 5000 });
    // What stands in for vectors beyond the end is read an even number of times.
    assertEquals(y.u32.reduce((seen, word) => seen ^ word, 0), x.reduce((seen, word) => seen ^ word, 0));
    const rounds = await runKernel(device, multiplyAdd, null, { y: { poison: 2048 * 256 } }, { rounds: 3 });
    assertClose(
      rounds.y.f32.subarray(0, 1),
      Float32Array.of(4 * [0, 1, 2, 3, 4, 5, 6, 7].reduce((sum, i) => sum + (i / 8 + 1.75), 0)),
      1e-5,
      "chains",
    );
    const ms = await device.measure(() => {});
    assert(ms >= 0);
    await device.close();
  });
});
