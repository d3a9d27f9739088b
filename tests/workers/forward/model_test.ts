/**
 * What the forward pass promises beyond being right: batching, splitting and quantising do not change what they must not change.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import type { Device, DeviceKind, DeviceLimits } from "../../../kernels/device/device.ts";
import { AdjustmentList } from "../../../workers/forward/adjustment_list.ts";
import { maskWords } from "../../../kernels/mask_logits/mask_logits.ts";
import type { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import type { Model } from "../../../workers/forward/model.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { loadModel, readGolden } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { Random } from "../../../bench/support/random.ts";

async function onDevice(kind: DeviceKind, test: (device: Device) => Promise<void>, limits?: Partial<DeviceLimits>): Promise<void> {
  const device = await openTestDevice(kind, limits);
  try {
    await test(device);
  } finally {
    await device.close();
  }
}

/** Prefills a sequence, keeping it open. */
function prefill(model: Model, tokens: readonly number[]): CachedSequence {
  const sequence = model.cache.open();
  model.cache.grow(sequence, tokens.length);
  model.record({ phase: "prefill", rows: tokens.map((token, position) => ({ token, position, sequence })) });
  model.device.submit();
  sequence.length = tokens.length;
  return sequence;
}

/** Pipelines that Deno's passes are given meanwhile. */
async function pipelinesOf(run: () => Promise<unknown>): Promise<Set<GPUComputePipeline>> {
  const encoder = GPUComputePassEncoder.prototype;
  const { setPipeline } = encoder;
  const pipelines = new Set<GPUComputePipeline>();
  encoder.setPipeline = function (pipeline) {
    pipelines.add(pipeline);
    setPipeline.call(this, pipeline);
  };
  try {
    await run();
  } finally {
    encoder.setPipeline = setPipeline;
  }
  return pipelines;
}

describeModelsOnDevices("model", (kind) => {
  it("decodes sequences of different lengths in one batch, and several positions of one, with the bits they have alone", () =>
    onDevice(kind, async (device) => {
      const model = await loadModel(device, "deepseek-v3-tiny", { limits: { decodeRows: 18 } });
      const random = new Random();
      const prompts = [5, 70, 131].map((length) => Array.from({ length }, () => 3 + random.below(256)));
      const next = prompts.map(() => 3 + random.below(256));
      const alone: Float32Array[] = [];
      for (const [i, prompt] of prompts.entries()) alone.push((await decodeTogether(model, [prompt], [[next[i], 9]])).slice());
      const together = await decodeTogether(model, prompts, next.map((token) => [token, 9]));
      prompts.forEach((_, i) => {
        assertEquals(together.slice(i * 2 * 512, (i + 1) * 2 * 512), alone[i], `sequence ${i}`);
      });
      // Six tokens of each, more rows than share a read of anything.
      const six = (i: number) => [next[i], 9, 30, 31, 32, 33];
      const many = await decodeTogether(model, prompts, prompts.map((_, i) => six(i)));
      for (const [i, prompt] of prompts.entries()) {
        assertEquals(
          many.slice(i * 6 * 512, (i + 1) * 6 * 512),
          (await decodeTogether(model, [prompt], [six(i)])).slice(),
          `sequence ${i} of 18 rows`,
        );
      }
      // The same two tokens one step at a time.
      const sequence = prefill(model, prompts[1]);
      for (const [i, token] of [next[1], 9].entries()) {
        model.cache.grow(sequence, 1);
        model.record({ phase: "decode", rows: [{ token, position: sequence.length++, sequence }] });
        model.head.recordLogits("decode", 0, 1);
        assertEquals(await model.head.logits(1), alone[1].slice(i * 512, (i + 1) * 512), `position ${i}`);
      }
      model.cache.close(sequence);
      model.cache.checkIntegrity();
    }));

  for (const name of ["deepseek-v2-lite-tiny", "deepseek-v3-tiny"] as const) {
    it(`decodes ${name} in fewer dispatches on a rank that is alone, with the bits it has among others`, () =>
      onDevice(kind, async (device) => {
        const run = async (ranks: number) => {
          const model = await loadModel(device, name, { ranks });
          const sequence = prefill(model, Array.from({ length: 40 }, (_, i) => 3 + i * 7 % 250));
          const logits: Float32Array[] = [];
          const dispatches: number[] = [];
          for (const tokens of [[9], [17, 5, 8, 30, 2], [4]]) {
            model.cache.grow(sequence, tokens.length);
            const before = device.counters.dispatches;
            model.record({ phase: "decode", rows: tokens.map((token) => ({ token, position: sequence.length++, sequence })) });
            dispatches.push(device.counters.dispatches - before);
            model.head.recordLogits("decode", 0, tokens.length);
            logits.push((await model.head.logits(tokens.length)).slice());
          }
          return { logits, dispatches, spec: model.spec };
        };
        const [alone, among] = [await run(1), await run(2)];
        assertEquals(alone.logits, among.logits);
        const { layers, denseLayers } = alone.spec;
        assert(denseLayers > 0 && layers > denseLayers, `${name} has layers of both kinds`);
        // Norms of feed-forward blocks, and of attention after dense ones; sums of experts, but for the last layer's.
        assertEquals(among.dispatches[0] - alone.dispatches[0], layers + denseLayers + (layers - denseLayers - 1));
        assert(alone.dispatches[1] > alone.dispatches[0], "several rows are normalised apart");
      }));
  }

  if (kind === "deno") {
    it("has run every kernel of a step once when it is warm", () =>
      onDevice(kind, async (device) => {
        const model = await loadModel(device, "deepseek-v3-tiny");
        for (const phase of ["prefill", "decode"] as const) {
          const warm = await pipelinesOf(() => model.warmUp(phase));
          const used = await pipelinesOf(async () => {
            for (const rows of [1, 5]) {
              await runSequence(model, [9, 17, 5, 8, 30], phase, rows);
              const query = { key: 0, position: 5, inverseTemperature: 1, draw: true, plain: 1, adjusted: 1 };
              const mask = new Uint32Array(maskWords(model.spec.vocabSize)).fill(0xffffffff);
              const adjustments = new AdjustmentList();
              adjustments.set({ token: 7, repetition: 1, addend: -1 });
              await model.head.answers([{ ...query, adjustments, mask }]);
            }
          });
          assertEquals([...used].filter((pipeline) => !warm.has(pipeline)).map(({ label }) => label), [], phase);
        }
      }));
  }

  it("gives the same bits for any chunk size of a prefill", () =>
    onDevice(kind, async (device) => {
      const { inputs: [tokens] } = await readGolden("deepseek-v2-lite-tiny");
      const model = await loadModel(device, "deepseek-v2-lite-tiny", { limits: { window: 32 }, cacheDtype: "f16" });
      const whole = await runSequence(model, tokens, "prefill", Infinity);
      for (const chunk of [1, 13, 64]) assertEquals((await runSequence(model, tokens, "prefill", chunk)).logits, whole.logits, `chunks of ${chunk}`);
    }));

  it("expands a window once, where it keeps its keys and values, with the same bits", () =>
    onDevice(kind, async (device) => {
      const { inputs: [tokens, others] } = await readGolden("deepseek-v2-lite-tiny");
      const load = (keptWindows?: number) => loadModel(device, "deepseek-v2-lite-tiny", { limits: { window: 8, keptWindows }, cacheDtype: "f16" });
      const [model, keeping, keepingFew] = [await load(), await load(64), await load(2)];
      const run = async (of: Model, input: readonly number[], chunk: number) => {
        const before = device.counters.dispatches;
        const { logits } = await runSequence(of, input, "prefill", chunk);
        return { logits, dispatches: device.counters.dispatches - before };
      };
      // Software drivers take seconds for each.
      for (const chunk of kind === "deno" ? [5, 13] : [1, 5, 8, 13, 64]) {
        for (const input of kind === "deno" ? [tokens] : [tokens, others]) {
          const expected = await run(model, input, chunk);
          const [all, few] = [await run(keeping, input, chunk), await run(keepingFew, input, chunk)];
          assertEquals(all.logits, expected.logits, `chunks of ${chunk}`);
          assertEquals(few.logits, expected.logits, `chunks of ${chunk}, two windows`);
          if (chunk < 8) assert(all.dispatches < few.dispatches && few.dispatches < expected.dispatches, `${all.dispatches}, ${few.dispatches}`);
        }
      }
    }));

  it("keeps windows of one prompt apart from those of another that is computed in between", () =>
    onDevice(kind, async (device) => {
      const { inputs } = await readGolden("deepseek-v2-lite-tiny");
      const [plain, keeping] = await Promise.all(
        [0, 8].map((keptWindows) => loadModel(device, "deepseek-v2-lite-tiny", { limits: { window: 8, keptWindows } })),
      );
      const random = new Random();
      const turns = Array.from({ length: 40 }, () => ({ which: random.below(2), rows: 1 + random.below(12) }));
      const run = async (model: Model) => {
        const prompts = [0, 1].map((i) => ({ sequence: model.cache.open(), tokens: inputs[i] }));
        const rows: Float32Array[] = [];
        for (const { which, rows: most } of turns) {
          const { sequence, tokens } = prompts[which];
          const count = Math.min(most, tokens.length - sequence.length);
          if (count === 0) continue;
          model.cache.grow(sequence, count);
          const start = sequence.length;
          model.record({ phase: "prefill", rows: tokens.slice(start, start + count).map((token, i) => ({ token, position: start + i, sequence })) });
          model.head.recordLogits("prefill", count - 1, 1);
          rows.push((await model.head.logits(1)).slice());
          sequence.length += count;
        }
        for (const { sequence } of prompts) model.cache.close(sequence);
        return rows;
      };
      assertEquals(await run(keeping), await run(plain));
    }));

  it("changes all logits of many rows, which is more than one submission holds", () =>
    onDevice(kind, async (device) => {
      const model = await loadModel(device, "tiny-mla", { limits: { logitRows: 9 } });
      const tokens = Array.from({ length: 9 }, (_, i) => 40 + i);
      const sequence = model.cache.open();
      model.cache.grow(sequence, tokens.length);
      model.record({ phase: "prefill", rows: tokens.map((token, position) => ({ token, position, sequence })) });
      model.head.recordLogits("prefill", 0, tokens.length);
      const before = await model.head.logits(tokens.length);
      const { vocabSize } = model.spec;
      model.head.recordAdjustments(tokens.map((_, row) => {
        const base = Array.from({ length: vocabSize }, (_, token) => ({ token, repetition: 1, addend: row * 3 + token % 5 - 7 }));
        return new AdjustmentList().follow({ base, log: [{ token: row, repetition: 1, addend: 100 }] });
      }));
      const expected = before.map((logit, i) => {
        const [row, token] = [Math.floor(i / vocabSize), i % vocabSize];
        return logit + (token === row ? 100 : row * 3 + token % 5 - 7);
      });
      assertEquals(await model.head.logits(tokens.length), expected);
    }));

  it("splits tensors that exceed a binding, without changing a bit", () =>
    onDevice(kind, async (device) => {
      const { inputs: [tokens] } = await readGolden("deepseek-v3-fp8-tiny");
      const whole = await loadModel(device, "deepseek-v3-fp8-tiny", { maxTokens: 256 });
      await onDevice(kind, async (small) => {
        // 64×512 bf16 embeddings and 16 experts of 64×64 bytes need several parts of 12 kB.
        const split = await loadModel(small, "deepseek-v3-fp8-tiny", { maxTokens: 64 });
        for (const [phase, rows] of [["prefill", 8], ["decode", 8], ["decode", 1]] as const) {
          const few = tokens.slice(0, 20);
          const expected = (await runSequence(whole, few, phase, rows)).logits;
          assertEquals((await runSequence(split, few, phase, rows)).logits, expected, `${phase}, ${rows} rows`);
        }
      }, { maxBindingBytes: 12288 });
    }));

  it("puts fewer kernels together where a device has few bindings, without changing a bit", () =>
    onDevice(kind, async (device) => {
      const { inputs: [tokens] } = await readGolden("deepseek-v3-tiny");
      const few = tokens.slice(0, 6);
      const run = async (on: Device) => {
        const model = await loadModel(on, "deepseek-v3-tiny", { maxTokens: 64 });
        const before = on.counters.dispatches;
        const { logits } = await runSequence(model, few, "decode", 1);
        return { logits, dispatches: on.counters.dispatches - before };
      };
      const all = await run(device);
      let dispatches = all.dispatches;
      // Eight do for a layer that normalises its input, not for two; six for neither.
      for (const maxBindings of [8, 6]) {
        await onDevice(kind, async (small) => {
          const fewer = await run(small);
          assertEquals(fewer.logits, all.logits, `${maxBindings} bindings`);
          assert(fewer.dispatches > dispatches, `${maxBindings} bindings: ${fewer.dispatches} dispatches, ${dispatches} with more`);
          ({ dispatches } = fewer);
        }, { maxBindings });
      }
    }));

  it("stays close to itself under q8 and q4", () =>
    onDevice(kind, async (device) => {
      const { inputs: [tokens] } = await readGolden("tiny-mla");
      const few = tokens.slice(0, 48);
      const exact = await runSequence(await loadModel(device, "tiny-mla"), few, "prefill", Infinity);
      const error = async (weights: "q8" | "q4") =>
        relativeError((await runSequence(await loadModel(device, "tiny-mla", { weights }), few, "prefill", Infinity)).logits, exact.logits);
      const [q8, q4] = [await error("q8"), await error("q4")];
      assert(q8 > 0 && q8 < 0.03, `q8: ${q8}`);
      assert(q4 > q8 && q4 < 0.35, `q4: ${q4}`);
    }));

  it("never awaits a map, nor submits more than once, in a decode step", () =>
    onDevice(kind, async (device) => {
      const model = await loadModel(device, "deepseek-v3-tiny");
      const sequence = prefill(model, [5, 6, 7]);
      const query = { key: 1, position: 4, inverseTemperature: 1 };
      const step = async () => {
        model.cache.grow(sequence, 1);
        model.record({ phase: "decode", rows: [{ token: 9, position: sequence.length++, sequence }] });
        model.head.recordLogits("decode", 0, 1);
        await model.head.candidates([query], 4, true);
      };
      await step();
      const before = { ...device.counters };
      for (let i = 0; i < 3; i++) await step();
      if (kind !== "dawn") assertEquals(device.counters.awaitedMaps, before.awaitedMaps);
      assertEquals(device.counters.submissions - before.submissions, 3);
      assertEquals(device.counters.allocatedBytes, before.allocatedBytes);
      model.cache.close(sequence);
    }));

  it("says what to do when cache or tensors cannot fit", () =>
    onDevice(kind, async (device) => {
      await assertRejects(() => loadModel(device, "deepseek-v3-tiny", { maxTokens: 2 ** 24 }), LatentmeshError, "--max-tokens-total");
    }, { maxBindingBytes: 1 << 20 }));
});

/** Prefills every prompt, then runs all continuations in one decode step; logits of all rows. */
async function decodeTogether(model: Model, prompts: readonly number[][], continuations: readonly number[][]): Promise<Float32Array> {
  const sequences = prompts.map((prompt) => prefill(model, prompt));
  const rows = sequences.flatMap((sequence, i) => {
    model.cache.grow(sequence, continuations[i].length);
    return continuations[i].map((token, j) => ({ token, position: sequence.length + j, sequence }));
  });
  model.record({ phase: "decode", rows });
  model.head.recordLogits("decode", 0, rows.length);
  const logits = await model.head.logits(rows.length);
  for (const sequence of sequences) model.cache.close(sequence);
  return logits;
}

describe("latent cache", () => {
  it("refuses what does not fit and keeps its books", async () => {
    const device = await openTestDevice("cpu");
    const { cache } = await loadModel(device, "deepseek-v3-tiny", { maxTokens: 192 });
    const [a, b] = [cache.open(), cache.open()];
    cache.grow(a, 65);
    assertEquals(a.blocks.length, 2);
    assertThrows(() => cache.grow(b, 100), LatentmeshError, "raise --max-tokens-total");
    assertEquals(b.blocks.length, 0);
    assertThrows(() => cache.grow(b, 257), LatentmeshError, "exceeds the context of 256");
    cache.checkIntegrity();
    cache.close(a);
    cache.grow(b, 192);
    cache.close(b);
    assertThrows(() => cache.close(b), LatentmeshError, "closed twice");
    const all = Array.from({ length: 4 }, () => cache.open());
    assertThrows(() => cache.open(), LatentmeshError, "Too many sequences");
    all.forEach((sequence) => cache.close(sequence));
    cache.checkIntegrity();
    assertEquals(cache.allocator.free, 3);
    await device.close();
  });
});
