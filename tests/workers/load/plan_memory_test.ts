/**
 * A plan must be what loading takes, to the byte.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { CacheDtype } from "../../../core/cache/cache_dtype.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { bytesPerRow, bytesPerWindowPosition } from "../../../core/model/prefill_sizes.ts";
import { basesFor } from "../../../core/tpla/choose_bases.ts";
import { cacheBytesPerToken } from "../../../core/tpla/plan.ts";
import { partition, promptShapes, UNCUT } from "../../../core/tpla/partition.ts";
import { wholeMemory } from "../../../core/tpla/plan.ts";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import { createActivations } from "../../../workers/forward/activations.ts";
import { loadWeights, planWeights } from "../../../workers/load/loader.ts";
import { createMixedModels } from "../../../workers/forward/mixed_models.ts";
import { Model } from "../../../workers/forward/model.ts";
import type { MoeWeights } from "../../../workers/forward/weights.ts";
import { DirectoryFiles, openModelFiles } from "../../../workers/load/model_files.ts";
import { PLAIN_FEATURES } from "../../../kernels/device/device.ts";
import { MeasuringDevice } from "../../../kernels/device/measuring_device.ts";
import { planMemory } from "../../../workers/load/plan_memory.ts";
import { type Fixture, fixtureDirectory } from "../../support/checkpoints.ts";
import { TEST_LIMITS } from "../../support/fixtures.ts";

const sizes = { cacheDtype: "f16", maxTokens: 256, maxContext: 128, maxSequences: 2, limits: TEST_LIMITS } as const;

describe("a memory plan", () => {
  const cases: [Fixture, "keep" | "q8" | "q4", number, CacheDtype][] = [
    ["deepseek-v3-fp8-tiny", "keep", 2, "f16"],
    ["deepseek-v2-lite-tiny", "q4", 3, "f16"],
    ["tiny-mla", "keep", 4, "q8"],
  ];
  for (const [name, policy, ranks, cacheDtype] of cases) {
    it(`is what each of ${ranks} ranks of ${name} takes with weights ${policy} and latents in ${cacheDtype}`, async () => {
      using files = new DirectoryFiles(fixtureDirectory(name));
      const spec = parseModelConfig((await files.text("config.json"))!, name);
      const bases = await basesFor(spec, { kind: "hadamard", lambda: 0 }, null);
      for (const shape of partition(spec, { ranks, latentGroups: ranks, halo: 8 })) {
        const group = { rank: shape.rank, ranks, wire: "f16" as const, wholeFeedForward: false };
        const planned = {
          ...sizes,
          cacheDtype,
          group,
          model: files.name,
          weights: policy,
          shape,
          changesBasis: true,
          role: "decode",
          lanes: 1,
        } as const;
        const plan = await planMemory({ ...planned, matrixUnits: false });
        const device = new CpuDevice();
        const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: policy, shard: { shape, bases } });
        assertEquals(plan.weightBytes, device.counters.allocatedBytes);
        await Model.create(device, weights, { ...sizes, cacheDtype, group });
        if (cacheDtype === "q8") assertEquals(plan.cacheBytes, 256 * cacheBytesPerToken(spec, shape, cacheDtype));
        assertEquals(plan.weightBytes + plan.cacheBytes + plan.activationBytes, device.counters.allocatedBytes);
        // Throws if a buffer is too small for what is bound to it, those of matrix units among them.
        await planMemory({ ...planned, matrixUnits: true });
      }
    });
  }

  it("counts experts in four bits as they are kept, whatever the others become", async () => {
    const model = "synthetic:tiny?int4=32";
    const bytes: number[] = [];
    for (const weights of ["keep", "q8", "q4"] as const) {
      using files = openModelFiles(model);
      const spec = parseModelConfig((await files.text("config.json"))!, model);
      const shape = partition(spec, UNCUT)[0];
      const plan = await planMemory({ ...sizes, model, weights, shape, changesBasis: false, role: "mixed", lanes: 1, matrixUnits: false });
      const device = new CpuDevice();
      const { layers } = await loadWeights(device, await Checkpoint.open(files), spec, { weights });
      assertEquals(plan.weightBytes, device.counters.allocatedBytes);
      const { experts } = layers.at(-1)!.feedForward as MoeWeights;
      assertEquals([experts.gateUp.layout.format, experts.down.layout.group], ["int4", 32]);
      bytes.push(plan.weightBytes);
    }
    assert(bytes[0] > bytes[1] && bytes[1] > bytes[2], bytes.join());
  });

  it("has room for what matrix units take, where there may be any", async () => {
    const limits = { ...TEST_LIMITS, prefillRows: 512, decodeRows: 1 };
    const whole = { ...sizes, limits, model: fixtureDirectory("tiny-mla"), weights: "keep" as const, shape: wholeOf("tiny-mla") };
    const plan = (matrixUnits: boolean) => planMemory({ ...whole, changesBasis: false, role: "prefill", lanes: 1, matrixUnits });
    const [plain, either] = [await plan(false), await plan(true)];
    using files = new DirectoryFiles(whole.model);
    const spec = parseModelConfig((await files.text("config.json"))!, "tiny-mla");
    const device = new MeasuringDevice({ maxWorkgroupBytes: 49152 }, { ...PLAIN_FEATURES, matrixUnits: true });
    const weights = await loadWeights(device, await Checkpoint.open(files), spec, {
      weights: "keep",
      shard: { shape: whole.shape, bases: null },
      dry: true,
    });
    await Model.create(device, weights, { ...whole });
    assertEquals({ ...either, activationBytes: 0 }, { ...plain, activationBytes: 0 });
    assertEquals(
      either.activationBytes,
      Math.max(plain.activationBytes, device.counters.allocatedBytes - either.weightBytes - either.cacheBytes),
    );
    assert(either.activationBytes > plain.activationBytes);
  });

  it("counts tables of positions without making them, which memory would not hold", async () => {
    const maxContext = 2 ** 30;
    const planned = { ...sizes, model: fixtureDirectory("tiny-mla"), weights: "keep" as const, shape: wholeOf("tiny-mla") };
    const plan = (maxContext: number) => planMemory({ ...planned, maxContext, changesBasis: false, role: "decode", lanes: 1, matrixUnits: false });
    const [short, long] = [await plan(maxContext / 2), await plan(maxContext)];
    // Cosines and sines of 16 columns.
    assert(long.activationBytes - short.activationBytes >= maxContext / 2 * 64, `${short.activationBytes}, ${long.activationBytes}`);
  });

  it("has working memory for chunks and for steps where a rank is mixed, and one cache", async () => {
    const limits = { prefillRows: 40, decodeRows: 7, window: 16, keptWindows: 2, logitRows: 7 };
    const mixed = { ...sizes, limits, model: fixtureDirectory("tiny-mla"), weights: "keep" as const, shape: wholeOf("tiny-mla") };
    const plan = await planMemory({ ...mixed, changesBasis: false, role: "mixed", lanes: 1, matrixUnits: false });
    using files = new DirectoryFiles(mixed.model);
    const spec = parseModelConfig((await files.text("config.json"))!, "tiny-mla");
    const device = new CpuDevice();
    const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard: { shape: mixed.shape, bases: null } });
    const { prefill, decode } = await createMixedModels(device, weights, mixed);
    assertEquals(prefill.cache, decode.cache);
    assertEquals(plan.weightBytes + plan.cacheBytes + plan.activationBytes, device.counters.allocatedBytes);
  });

  it("has the layer that drafts, and what it needs beside the cache, where that is loaded", async () => {
    const model = "synthetic:tiny?mtp=1";
    const bytes: number[] = [];
    for (const mtp of [true, false]) {
      using files = openModelFiles(model);
      const spec = { ...parseModelConfig((await files.text("config.json"))!, model), mtp };
      const shape = partition(spec, UNCUT)[0];
      const planned = { ...sizes, model, weights: "keep", shape, changesBasis: false, role: "mixed", lanes: 1, matrixUnits: false, mtp } as const;
      const plan = await planMemory(planned);
      const device = new CpuDevice();
      const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep" });
      assertEquals(plan.weightBytes, device.counters.allocatedBytes);
      const { decode } = await createMixedModels(device, weights, planned);
      if (mtp) await Model.draftHead(decode, weights);
      assertEquals(plan.cacheBytes, sizes.maxTokens * cacheBytesPerToken(spec, shape, "f16"));
      assertEquals(plan.weightBytes + plan.cacheBytes + plan.activationBytes, device.counters.allocatedBytes);
      bytes.push(wholeMemory(plan));
      // Throws if a buffer is too small for what is bound to it: here what is joined is wider than queries.
      const large = { ...planned, model: "synthetic:moonlight?layers=2&mtp=1", cacheDtype: "q8", matrixUnits: true } as const;
      using ofLarge = openModelFiles(large.model);
      const ofSpec = { ...parseModelConfig((await ofLarge.text("config.json"))!, large.model), mtp };
      await planMemory({ ...large, shape: partition(ofSpec, UNCUT)[0] });
    }
    assert(bytes[0] > bytes[1]);
  });

  it("has attention weights in both partitions, and a cache of whole prompts, where a rank generates from slices", async () => {
    const limits = { prefillRows: 40, decodeRows: 7, window: 16, keptWindows: 2, logitRows: 7 };
    using files = new DirectoryFiles(fixtureDirectory("deepseek-v3-tiny"));
    const spec = parseModelConfig((await files.text("config.json"))!, files.name);
    const bases = await basesFor(spec, { kind: "hadamard", lambda: 0 }, null);
    const cut = { ranks: 2, latentGroups: 2, halo: 8 };
    const cache = { maxTokens: 192, maxSequences: 3 };
    for (const shape of partition(spec, cut)) {
      const promptShape = promptShapes(spec, cut)[shape.rank];
      const group = { rank: shape.rank, ranks: 2, wire: "f32" as const, wholeFeedForward: false };
      const rank = { ...sizes, limits, group, model: files.name, weights: "keep" as const, shape, changesBasis: true };
      const mixed = { ...rank, role: "mixed" as const, lanes: 1, promptShape, promptCache: cache };
      const plan = await planMemory({ ...mixed, matrixUnits: false });
      const device = new CpuDevice();
      const planned = planWeights(device, await Checkpoint.open(files), spec, {
        weights: "keep",
        shard: { shape, bases },
        beside: { shape: promptShape, bases },
      });
      assertEquals(plan.weightBytes, device.counters.allocatedBytes);
      const models = await createMixedModels(device, planned.weights, mixed, { weights: planned.beside!, cache });
      assertEquals(wholeMemory(plan), device.counters.allocatedBytes);
      const bytesOf = ({ cache: { layers } }: Model) => layers.reduce((sum, { bytes }) => sum + bytes, 0);
      assertEquals([plan.cacheBytes, plan.promptCacheBytes], [bytesOf(models.decode), bytesOf(models.prefill)]);
      const [alone, prompts] = [
        await planMemory({ ...rank, role: "decode", lanes: 1, matrixUnits: false }),
        await planMemory({ ...rank, shape: promptShape, role: "prefill", lanes: 1, matrixUnits: false }),
      ];
      assertEquals(plan.weightBytes - plan.promptWeightBytes, alone.weightBytes);
      assert(plan.promptWeightBytes > 0 && plan.weightBytes < alone.weightBytes + prompts.weightBytes);
      const { weights, beside } = planned;
      assert(weights.embedding === beside!.embedding && weights.head === beside!.head);
      weights.layers.forEach(({ feedForward, attention }, i) => {
        const other = beside!.layers[i];
        assert(feedForward === other.feedForward && attention.kvDown === other.attention.kvDown && attention.queryUp !== other.attention.queryUp);
      });
      // Throws if a buffer is too small for what is bound to it, those of matrix units among them.
      await planMemory({ ...mixed, matrixUnits: true });
    }
  });

  it("comes to what chunks and windows are chosen by", () => {
    const maxContext = 512;
    for (const name of ["deepseek-v3-tiny", "deepseek-v2-lite-tiny", "deepseek-v32-tiny", "tiny-mla"] as const) {
      const spec = parseModelConfig(Deno.readTextFileSync(`${fixtureDirectory(name)}/config.json`), name);
      const allocated = (prefillRows: number, window: number) => {
        const device = new MeasuringDevice();
        const queries = { dtype: "f32", keyWidth: spec.latentWidth, ropeWidth: spec.rope.width } as const;
        const options = {
          layers: [{ queries, mostSplits: 1 }],
          matrixUnits: true,
          decodesOnUnits: true,
          halves: false,
          sparseWay: null,
          shares: false,
          ranks: 1,
          wire: "f32",
          cache: { dtype: "f16", keyWidth: spec.latentWidth, ropeWidth: spec.rope.width },
          maxContext,
        } as const;
        createActivations(device, spec, { prefillRows, decodeRows: 1, window, logitRows: 1 }, options);
        return device.counters.allocatedBytes;
      };
      const [least, rows, positions] = [allocated(4096, 64), allocated(8192, 64), allocated(4096, 128)];
      const near = (actual: number, expected: number) => assert(Math.abs(actual / expected - 1) < 0.01, `${name}: ${actual} for ${expected}`);
      near(rows - least, bytesPerRow(spec, maxContext).all * 4096);
      near(positions - least, bytesPerWindowPosition(spec).all * 64);
    }
  });

  it("fails as loading would", async () => {
    await assertRejects(
      () =>
        planMemory({
          ...sizes,
          maxTokens: 2 ** 26,
          model: fixtureDirectory("tiny-mla"),
          weights: "keep",
          shape: wholeOf("tiny-mla"),
          changesBasis: false,
          role: "decode",
          lanes: 1,
          matrixUnits: false,
        }),
      LatentmeshError,
      "latent cache of 67108864 tokens",
    );
  });
});

function wholeOf(name: Fixture) {
  const spec = parseModelConfig(Deno.readTextFileSync(`${fixtureDirectory(name)}/config.json`), name);
  return partition(spec, UNCUT)[0];
}
