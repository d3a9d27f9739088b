/**
 * Ranks that share latents by tokens compute what one worker computes, and what transformers does; a row gets the same bits whatever is beside it.
 */
import { setImmediate } from "node:timers/promises";
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import type { LayerBasis } from "../../../core/tpla/layer_basis.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, type PartitionOptions, UNCUT } from "../../../core/tpla/partition.ts";
import { handoffBytesPerToken } from "../../../core/tpla/plan.ts";
import type { Device, DeviceKind } from "../../../kernels/device/device.ts";
import { type CacheDtype, cacheTokenBytes } from "../../../kernels/latent_cache/layout.ts";
import { Model } from "../../../workers/forward/model.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { type GroupSequence, LocalGroup } from "../../../workers/local/local_group.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { type Fixture, fixtureDirectory, FIXTURES, SPARSE_FIXTURES } from "../../support/checkpoints.ts";
import { readGolden, TEST_LIMITS } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";

const TOLERANCE: Readonly<Record<DeviceKind, number>> = { cpu: 2e-5, wasm: 2e-5, deno: 5e-5, dawn: 5e-5 };
const CONTEXT = 320;
const GENERATED = 24;
const TURNS = 2000;
const ROWS = TEST_LIMITS.decodeRows;

/** Latents shared by tokens among so many ranks. */
function shared(ranks: number, options: Partial<PartitionOptions> = {}): PartitionOptions {
  return { ranks, latentGroups: 1, halo: 0, tokenShares: ranks, ...options };
}

interface LoadOptions {
  readonly cacheDtype?: CacheDtype;
  readonly bases?: readonly LayerBasis[] | null;
}

/** A model for each rank, or one that has all of it. */
async function load(device: Device, name: Fixture, cut: PartitionOptions = UNCUT, { cacheDtype = "f32", bases = null }: LoadOptions = {}) {
  using files = new DirectoryFiles(fixtureDirectory(name));
  const spec = parseModelConfig((await files.text("config.json"))!, name);
  const checkpoint = await Checkpoint.open(files);
  const models: Model[] = [];
  for (const shape of partition(spec, cut)) {
    const weights = await loadWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases } });
    const group = { ...ALONE, rank: shape.rank, ranks: cut.ranks, wholeFeedForward: cut.feedForward === "replicated" };
    const sizes = { maxTokens: 2 * CONTEXT, maxContext: CONTEXT, maxSequences: 3, limits: { ...TEST_LIMITS, prefillRows: 128 } };
    models.push(await Model.create(device, weights, { group, cacheDtype, ...sizes }));
  }
  return models;
}

/** Logits of tokens from position `start` on, so many of them in each step. */
async function decode(group: LocalGroup, sequence: GroupSequence, tokens: readonly number[], start: number, atOnce = ROWS): Promise<Float32Array> {
  const logits: Float32Array[] = [];
  for (let first = start; first < tokens.length; first += atOnce) {
    logits.push(await group.step(tokens.slice(first, first + atOnce).map((token, i) => ({ token, position: first + i, sequence }))));
  }
  return Float32Array.from(logits.flatMap((part) => [...part]));
}

/** A prompt that one worker computes, on the group's ranks. */
async function handed(
  whole: Model,
  ranks: readonly Model[],
  group: LocalGroup,
  cut: PartitionOptions,
  prompt: readonly number[],
  promptTokens: number,
) {
  const { cache, device, spec } = whole;
  const computed = cache.open(promptTokens);
  cache.grow(computed, prompt.length);
  for (let start = 0; start < prompt.length; start += 128) {
    const rows = prompt.slice(start, start + 128).map((token, i) => ({ token, position: start + i, sequence: computed }));
    whole.record({ phase: "prefill", rows });
    device.submit();
    computed.length += rows.length;
  }
  const sequence = group.open(promptTokens);
  const shapes = partition(spec, cut);
  let bytes = 0;
  for (const [i, model] of ranks.entries()) {
    bytes += await handOver({ model: whole, sequence: computed }, { model, sequence: sequence[i] }, shapes[i], prompt.length);
  }
  assertEquals(bytes, prompt.length * handoffBytesPerToken(spec, shapes, cache.dtype));
  cache.close(computed);
  return sequence;
}

/** Ranks of one process step without a turn of the event loop: the ends of their readbacks are still to be dealt with. */
async function closed(device: Device): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await setImmediate();
  await device.close();
}

function best(logits: Float32Array): number {
  return logits.indexOf(logits.reduce((most, value) => Math.max(most, value), -Infinity));
}

describeModelsOnDevices("ranks that share latents by tokens", (kind) => {
  // A software driver compiles for long for each of them.
  const names = kind === "wasm" ? FIXTURES : ["deepseek-v3-tiny", "glm-moe-dsa-tiny"] as const;
  for (const name of names) {
    it(`give ${name} the logits of transformers`, async () => {
      const device = await openTestDevice(kind);
      try {
        const { inputs: [tokens], logits } = await readGolden(name);
        const sparse = SPARSE_FIXTURES.some((other) => other === name);
        for (const ranks of kind !== "wasm" ? [2] : name === "tiny-mla" ? [2, 3, 4] : sparse ? [2, 3] : [2]) {
          const models = await load(device, name, shared(ranks));
          const { cache, spec } = models[0];
          // As many blocks as hold a k-th of all tokens.
          assertEquals(cache.slots, Math.ceil(2 * CONTEXT / ranks / 64) * 64);
          assertEquals(cache.layers[0].bytes, cache.slots * cacheTokenBytes(cache.buffers[0].config));
          const group = await LocalGroup.create(models);
          const sequence = group.open(tokens.length);
          const error = relativeError(await decode(group, sequence, tokens, 0), logits.subarray(0, tokens.length * spec.vocabSize));
          assert(error <= TOLERANCE[kind], `${ranks} ranks: ${error}`);
          if (Deno.env.has("TEST_VERBOSE")) console.error(kind, name, ranks, error);
          group.close(sequence);
          for (const model of models) model.cache.checkIntegrity();
        }
      } finally {
        await closed(device);
      }
    });
  }

  const generating = kind === "wasm" ? ["tiny-mla", ...SPARSE_FIXTURES] as const : ["deepseek-v3-tiny"] as const;
  for (const name of generating) {
    it(`generate one worker's tokens of ${name} from its prompts, with latents in any precision`, async () => {
      const device = await openTestDevice(kind);
      try {
        const { inputs: [tokens] } = await readGolden(name);
        const prompt = tokens.slice(0, Math.min(150, tokens.length - 6));
        for (const cacheDtype of kind === "wasm" ? ["f32", "q8"] as const : ["f16"] as const) {
          const [whole] = await load(device, name, UNCUT, { cacheDtype });
          const alone = await LocalGroup.create([whole]);
          const expected: Float32Array[] = [];
          const one = await handed(whole, [whole], alone, UNCUT, prompt, CONTEXT);
          const said = [...tokens.slice(prompt.length, prompt.length + 1)];
          for (let i = 0; i < GENERATED; i++) {
            expected.push(await alone.step([{ token: said[i], position: prompt.length + i, sequence: one }]));
            said.push(best(expected[i]));
          }
          alone.close(one);
          for (const [ranks, feedForward] of kind === "wasm" ? [[2, "sharded"], [3, "replicated"]] as const : [[2, "sharded"]] as const) {
            const cut = shared(ranks, { feedForward });
            const models = await load(device, name, cut, { cacheDtype });
            const group = await LocalGroup.create(models);
            const sequence = await handed(whole, models, group, cut, prompt, CONTEXT);
            const logits: Float32Array[] = [];
            for (let i = 0; i < GENERATED; i++) logits.push(await group.step([{ token: said[i], position: prompt.length + i, sequence }]));
            // What is rounded more coarsely may be rounded otherwise, and then tokens that are nearly as good may be others.
            if (cacheDtype === "f32") assertEquals(logits.map(best), said.slice(1), `${ranks} ranks`);
            const error = relativeError(logits.flatMap((row) => [...row]), Float32Array.from(expected.flatMap((row) => [...row])));
            assert(error <= (cacheDtype === "f32" ? TOLERANCE[kind] : 5e-3), `${ranks} ranks, ${cacheDtype}: ${error}`);
            group.close(sequence);
          }
        }
      } finally {
        await closed(device);
      }
    });
  }

  const stepping = kind === "wasm" ? ["deepseek-v3-tiny", "glm-moe-dsa-tiny"] as const : ["deepseek-v3-tiny"] as const;
  for (const name of stepping) {
    it(`give a row of ${name} the same bits whatever else is in its step`, async () => {
      const device = await openTestDevice(kind);
      try {
        const { inputs: [a, b] } = await readGolden(name);
        const models = await load(device, name, shared(2));
        const group = await LocalGroup.create(models);
        const run = async (tokens: readonly number[], atOnce: number) => {
          const sequence = group.open(96);
          const logits = await decode(group, sequence, tokens, 0, atOnce);
          group.close(sequence);
          return logits;
        };
        const [alone, other] = [await run(a, 1), await run(b.slice(0, 40), 1)];
        assertEquals(await run(a, 5), alone, "several positions of a sequence in a step");
        const [first, second] = [group.open(96), group.open(96)];
        const { vocabSize } = models[0].spec;
        for (let position = 0; position < 96; position++) {
          // One that goes on while another is at its beginning, and blocks are on either rank.
          const beside = position < 56 ? [] : [{ token: b[position - 56], position: position - 56, sequence: second }];
          const logits = await group.step([...beside, { token: a[position], position, sequence: first }]);
          const row = (from: Float32Array, at: number) => from.slice(at * vocabSize, (at + 1) * vocabSize);
          assertEquals(row(logits, beside.length), row(alone, position), `position ${position}`);
          if (beside.length > 0) assertEquals(row(logits, 0), row(other, position - 56), `position ${position}, the other`);
        }
      } finally {
        await closed(device);
      }
    });
  }

  if (kind !== "wasm") return;
  it("share the latents of each latent group", async () => {
    const device = await openTestDevice(kind);
    try {
      const name = "deepseek-v3-tiny";
      const { inputs: [tokens] } = await readGolden(name);
      const [plain] = await load(device, name);
      const { spec } = plain;
      const bases = Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null));
      const [whole] = await load(device, name, UNCUT, { bases });
      const expected = (await runSequence(plain, tokens, "prefill", 64)).logits.subarray(70 * spec.vocabSize);
      // Two groups of two ranks each; with every direction as a key, nothing is lost.
      const errors = [];
      for (const halo of [spec.latentWidth, 8]) {
        const cut = { ranks: 4, latentGroups: 2, halo, tokenShares: 2 };
        const models = await load(device, name, cut, { bases });
        const group = await LocalGroup.create(models);
        const sequence = await handed(whole, models, group, cut, tokens.slice(0, 70), tokens.length);
        errors.push(relativeError(await decode(group, sequence, tokens, 70), expected));
        group.close(sequence);
      }
      assert(errors[0] <= TOLERANCE[kind] && errors[1] > 1e-3, `${errors}`);
    } finally {
      await closed(device);
    }
  });
});
