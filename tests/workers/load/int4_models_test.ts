/**
 * Checkpoints in four bits, in every form in which they are published, against the same weights unpacked: on one rank, and cut in both ways.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { isHost } from "../../../core/device_kind.ts";
import { Checkpoint, type ModelFiles } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, type PartitionOptions } from "../../../core/tpla/partition.ts";
import type { Device, DeviceKind } from "../../../kernels/device/device.ts";
import { Model } from "../../../workers/forward/model.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { LocalGroup } from "../../../workers/local/local_group.ts";
import { relativeError } from "../../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../../support/devices.ts";
import { TEST_LIMITS } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { INT4_FORMS, type Int4Model, type Int4Pair, int4Pair } from "../../support/int4_checkpoints.ts";
import { Random } from "../../../bench/support/random.ts";

const TOLERANCE = 1e-5;
const [TOKENS, PROMPT, GENERATED] = [24, 12, 6];

/** How a model is cut. */
const CUTS = {
  "mla over two ranks": { ranks: 2, latentGroups: 1, halo: 0 },
  "tpla over two ranks": { ranks: 2, latentGroups: 2, halo: 16 },
} as const satisfies Record<string, PartitionOptions>;

/**
 * Which forms of which model, where; on GPUs, cut in one way. A software driver compiles for long, AWQ and GPTQ lie alike on devices, and tiny-mla takes the plain
 * reference seconds.
 */
const CASES: readonly [model: Int4Model, form: keyof typeof INT4_FORMS, on: readonly DeviceKind[], onGpus: keyof typeof CUTS][] = [
  ["tiny-mla", "compressed-tensors, experts in groups of 32, as Kimi-K2.5", ["cpu", "wasm", "deno", "dawn"], "tpla over two ranks"],
  ["tiny-mla", "compressed-tensors, groups of 32 with zero points", ["wasm"], "tpla over two ranks"],
  ["V2-Lite shaped", "compressed-tensors, groups of 128", ["cpu", "wasm"], "tpla over two ranks"],
  ["V2-Lite shaped", "AWQ, groups of 128", ["cpu", "wasm", "deno", "dawn"], "mla over two ranks"],
  ["V2-Lite shaped", "GPTQ, groups of 128", ["cpu", "wasm"], "mla over two ranks"],
  ["V2-Lite shaped", "GPTQ v2 with zero points", ["wasm"], "mla over two ranks"],
];

const pairs = new Map<string, Promise<Int4Pair>>();

/** Written once for all devices. */
function pairOf(model: Int4Model, form: keyof typeof INT4_FORMS): Promise<Int4Pair> {
  const name = `${model} ${form}`;
  if (!pairs.has(name)) pairs.set(name, int4Pair(model, INT4_FORMS[form]));
  return pairs.get(name)!;
}

async function load(device: Device, files: ModelFiles, cut: PartitionOptions | null): Promise<{ ranks: Model[]; bytes: number }> {
  const spec = parseModelConfig((await files.text("config.json"))!, "config.json");
  const bases = cut === null || cut.latentGroups === 1
    ? null
    : Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null));
  const ranks: Model[] = [];
  let bytes = 0;
  for (const shape of cut === null ? [undefined] : partition(spec, cut)) {
    const shard = shape && { shape, bases };
    let told = { loadedBytes: 0, totalBytes: 0 };
    const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard, onProgress: (now) => told = now });
    assertEquals(told.loadedBytes, told.totalBytes);
    assert(Number.isSafeInteger(told.totalBytes), `${told.totalBytes} bytes`);
    bytes += weights.bytes;
    ranks.push(
      await Model.create(device, weights, {
        group: { ...ALONE, rank: shape?.rank ?? 0, ranks: cut?.ranks ?? 1, wholeFeedForward: false },
        cacheDtype: "f32",
        maxTokens: 128,
        maxContext: 128,
        maxSequences: 2,
        limits: TEST_LIMITS,
      }),
    );
  }
  return { ranks, bytes };
}

/** Logits of a prompt in steps of four rows, and of greedy tokens after it, which are the last of what is returned. */
async function generate(ranks: readonly Model[], prompt: readonly number[]): Promise<{ logits: number[]; tokens: number[] }> {
  const group = await LocalGroup.create(ranks);
  const sequence = group.open();
  const logits: number[] = [];
  const tokens = [...prompt];
  for (let position = 0; position < PROMPT + GENERATED;) {
    const rows = tokens.slice(position, position + 4).map((token, i) => ({ token, position: position + i, sequence }));
    const step = await group.step(rows);
    logits.push(...step);
    position += rows.length;
    if (position < tokens.length) continue;
    const last = step.subarray(step.length / rows.length * (rows.length - 1));
    tokens.push(last.indexOf(last.reduce((most, value) => Math.max(most, value))));
  }
  group.close(sequence);
  return { logits, tokens };
}

describeOnDevices("checkpoints in four bits", (kind) => {
  for (const [model, form, on, onGpus] of CASES) {
    if (!on.includes(kind)) continue;
    describe(`${model}: ${form}`, () => {
      it("give the logits of the same weights unpacked, on one rank, and stay packed", async () => {
        const { packed, unpacked } = await pairOf(model, form);
        const device = await openTestDevice(kind);
        try {
          const [actual, expected] = [await load(device, packed, null), await load(device, unpacked, null)];
          const { vocabSize } = actual.ranks[0].spec;
          const tokens = Array.from({ length: TOKENS }, ((random) => () => 3 + random.below(vocabSize - 3))(new Random()));
          for (const [phase, chunk] of [["prefill", 10], ["decode", 3]] as const) {
            const [a, b] = [await runSequence(actual.ranks[0], tokens, phase, chunk), await runSequence(expected.ranks[0], tokens, phase, chunk)];
            const error = relativeError(a.logits, b.logits);
            if (Deno.env.has("TEST_VERBOSE")) console.error(kind, model, form, phase, error);
            assert(error <= TOLERANCE, `${phase}: ${error}`);
          }
          assert(actual.bytes < 0.8 * expected.bytes, `${actual.bytes} of ${expected.bytes} bytes`);
        } finally {
          await device.close();
        }
      });

      for (const [name, cut] of Object.entries(CUTS)) {
        if (!isHost(kind) && name !== onGpus) continue;
        it(`give the same logits and greedy tokens, ${name}`, async () => {
          const { packed, unpacked } = await pairOf(model, form);
          const device = await openTestDevice(kind);
          try {
            const { ranks } = await load(device, packed, cut);
            const prompt = Array.from({ length: PROMPT }, ((random) => () => 3 + random.below(ranks[0].spec.vocabSize - 3))(new Random()));
            const actual = await generate(ranks, prompt);
            const expected = await generate((await load(device, unpacked, cut)).ranks, prompt);
            const error = relativeError(actual.logits, expected.logits);
            if (Deno.env.has("TEST_VERBOSE")) console.error(kind, model, form, name, error);
            assertEquals(actual.tokens, expected.tokens);
            assert(error <= TOLERANCE, `${error}`);
          } finally {
            await device.close();
          }
        });
      }
    });
  }
});
