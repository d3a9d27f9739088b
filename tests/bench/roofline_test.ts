/**
 * What the roofline bench stands on: models without a checkpoint, costs, traces.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { syntheticWeights } from "../../bench/synthetic.ts";
import { multiplyAdd } from "../../bench/roofline/ceilings.ts";
import { readWords } from "../../bench/roofline/read_words.ts";
import { costOf } from "../../bench/roofline/costs.ts";
import { type Dispatch, sidesOf, TracingDevice } from "../../bench/roofline/tracing_device.ts";
import { matrixLayout } from "../../core/model/packing.ts";
import { configOf } from "../../core/model/synthetic/shapes.ts";
import { batchMatvec } from "../../kernels/linear/batch_matvec.ts";
import { Model } from "../../workers/forward/model.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { Random } from "../../bench/support/random.ts";

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

const STEP = { rows: 1, context: 100, experts: 16 };

/** Has a device record the step of the hundredth token of a random model, and nothing before. @param config its config.json */
async function recordStep(device: TracingDevice, config: string, weights: "keep" | "q8" | "q4"): Promise<Model> {
  const model = await Model.create(device, await syntheticWeights(device, config, weights), {
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
  return model;
}

describeOnDevices("synthetic models", (kind) => {
  for (const weights of ["keep", "q8", "q4"] as const) {
    it(`with weights ${weights} give finite logits, and costs of their steps that add up`, async () => {
      const device = new TracingDevice(await openTestDevice(kind));
      const model = await recordStep(device, SMALL, weights);
      model.head.recordLogits("decode", 0, 1);
      const dispatches = device.take();
      const [list] = await model.head.candidates([{ key: 0, position: 99, inverseTemperature: 1 }], 4, false);
      assert([...list.logits, list.logSumExp].every(Number.isFinite) && new Set(list.logits).size > 1, `${list.logits}`);
      const costs = dispatches.map((dispatch) => ({ name: dispatch.kernel.name, ...costOf(dispatch, STEP) }));
      const attention = costs.filter(({ name }) => name === "latent_decode");
      // Three layers of 100 latents of 64 + 16 floats, and four splits of 4 heads.
      assertEquals(attention.map(({ bytes }) => bytes), new Array(3).fill(100 * 80 * 4 + 4 * 4 * 72 * 4));
      assertEquals(attention[0].flop, 2 * 100 * 4 * (80 + 64));
      // What runs side by side costs what both cost.
      const both = dispatches.find(({ kernel }) => kernel.name === "moe_route+matvec")!;
      const [route, down] = sidesOf(both)!.map((side) => costOf(side, STEP));
      assert(route.bytes > 0 && down.flop === 2 * 128 * 64);
      assertEquals(costOf(both, STEP), { bytes: route.bytes + down.bytes, flop: route.flop + down.flop });
      // Routed experts: 4 of them, gate, up and down.
      const expected = 2 * 4 * 3 * 64 * 128;
      const routed = dispatches.filter(({ config }) => (config as { select?: { kind: string } })?.select?.kind === "expert");
      assertEquals(routed.slice(0, 2).reduce((sum, dispatch) => sum + costOf(dispatch, STEP).flop, 0), expected);
      await device.close();
    });
  }

  it("score all tokens where they attend to some, which are what attention reads", async () => {
    const device = new TracingDevice(await openTestDevice(kind));
    const config = { ...JSON.parse(SMALL), model_type: "deepseek_v32", index_topk: 64, index_n_heads: 8, index_head_dim: 32 };
    await recordStep(device, JSON.stringify(config), "keep");
    const costs = device.take().map((dispatch) => ({ name: dispatch.kernel.name, ...costOf(dispatch, { ...STEP, attended: 64 }) }));
    const of = (name: string) => costs.filter((cost) => cost.name === name);
    assertEquals(of("index_scores"), new Array(3).fill({ name: "index_scores", bytes: 100 * (32 + 1) * 4, flop: 2 * 100 * 8 * 32 }));
    assertEquals(of("choose_tokens").map(({ bytes }) => bytes), new Array(3).fill((100 + 64) * 4));
    assertEquals(of("gather_tokens").map(({ bytes }) => bytes), new Array(3).fill(2 * 64 * 80 * 4));
    assertEquals(of("latent_decode").map(({ flop }) => flop), new Array(3).fill(2 * 64 * 4 * (80 + 64)));
    await device.close();
  });

  it("have experts of which a batch reads those that some row has chosen, once", () => {
    const layout = matrixLayout("bf16", 64);
    const config = { layout, outputs: 32, inputStride: 64, input: "plain", select: { kind: "expert", perInput: 4 } } as const;
    for (const [rows, chosen] of [[1, 4], [2, 7], [64, 16]]) {
      const params = { items: 4 * rows, first_output: 0, part_outputs: 32, first_matrix: 0, matrices: 16 };
      const dispatch = { kernel: batchMatvec, config, params } as unknown as Dispatch;
      const expected = { bytes: chosen * 32 * 128 + (rows * 64 + 4 * rows * 32) * 4, flop: 2 * 4 * rows * 32 * 64 };
      assertEquals(costOf(dispatch, { ...STEP, rows }), expected, `${rows} rows`);
    }
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
