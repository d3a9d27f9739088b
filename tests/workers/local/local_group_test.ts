/**
 * The algebra of splitting: a group whose every rank keys on the whole latent computes what one worker computes, in any basis.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { inverse as invert, Matrix } from "ml-matrix";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import type { BasisKind, LayerBasis, LayerStatistics } from "../../../core/tpla/layer_basis.ts";
import { readBasis } from "../../../core/tpla/basis_file.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, type PartitionOptions, UNCUT } from "../../../core/tpla/partition.ts";
import { handoffBytesPerToken } from "../../../core/tpla/plan.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { LocalGroup } from "../../../workers/local/local_group.ts";
import { Model } from "../../../workers/forward/model.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { relativeError } from "../../support/compare.ts";
import { openTestDevice } from "../../support/devices.ts";
import { type Fixture, fixtureDirectory } from "../../support/checkpoints.ts";
import { readGolden, TEST_LIMITS } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { Random } from "../../../bench/support/random.ts";

const TOLERANCE = 2e-5;
const PROMPT = 20;
const LENGTH = 36;

async function load(device: Device, name: Fixture, ranks = 1, shard?: LoadShard, wholeFeedForward = false): Promise<Model> {
  using files = new DirectoryFiles(fixtureDirectory(name));
  const spec = parseModelConfig((await files.text("config.json"))!, name);
  const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard });
  return await Model.create(device, weights, {
    group: { ...ALONE, rank: shard?.shape.rank ?? 0, ranks, wholeFeedForward },
    cacheDtype: "f32",
    maxTokens: 256,
    maxContext: 256,
    maxSequences: 2,
    limits: { ...TEST_LIMITS, prefillRows: 64 },
  });
}

/** An invertible matrix that is far from orthogonal, which would hide confusions of A and A⁻ᵀ. */
function randomBasis(width: number): LayerBasis {
  const A = Matrix.add(Matrix.from1DArray(width, width, new Random().normals(width * width, 0.5 / Math.sqrt(width))), Matrix.eye(width));
  const flat = (matrix: Matrix) => Float64Array.from(matrix.to1DArray());
  return { transform: flat(A.transpose()), inverse: flat(invert(A).transpose()), eigenvalues: new Float64Array() };
}

/** Second moments of random vectors of different sizes. */
function randomStatistics(width: number): LayerStatistics {
  const moments = () => {
    const vectors = Matrix.from1DArray(width, width, new Random().normals(width * width)).mulRowVector(
      Array.from({ length: width }, (_, i) => 1 / (1 + i)),
    );
    return Float64Array.from(vectors.transpose().mmul(vectors).add(Matrix.eye(width, width, 1e-3)).to1DArray());
  };
  return { latents: moments(), queries: moments(), values: moments() };
}

/** Prefills on a worker with whole latents, hands over, and decodes the rest on the group; logits of the decoded tokens, and the bytes handed over. */
async function decodeOnGroup(
  device: Device,
  name: Fixture,
  tokens: readonly number[],
  options: PartitionOptions,
  bases: readonly LayerBasis[] | null,
) {
  const whole = await load(device, name);
  const prefill = bases === null ? whole : await load(device, name, 1, { shape: partition(whole.spec, UNCUT)[0], bases });
  const shapes = partition(whole.spec, options);
  const ranks: Model[] = [];
  for (const shape of shapes) ranks.push(await load(device, name, shapes.length, { shape, bases }, options.feedForward === "replicated"));
  // All of it is rotated as what it is compared with, which is computed at once.
  const prompt = prefill.cache.open(LENGTH);
  prefill.cache.grow(prompt, PROMPT);
  prefill.record({ phase: "prefill", rows: tokens.slice(0, PROMPT).map((token, position) => ({ token, position, sequence: prompt })) });
  prefill.device.submit();
  prompt.length = PROMPT;
  const group = await LocalGroup.create(ranks);
  const sequence = group.open(LENGTH);
  let bytes = 0;
  for (const [i, model] of ranks.entries()) {
    bytes += await handOver({ model: prefill, sequence: prompt }, { model, sequence: sequence[i] }, shapes[i], PROMPT);
  }
  assertEquals(bytes, PROMPT * handoffBytesPerToken(whole.spec, shapes, "f32"));
  const logits: number[] = [];
  for (let start = PROMPT; start < LENGTH; start += 4) {
    const rows = tokens.slice(start, start + 4).map((token, i) => ({ token, position: start + i, sequence }));
    logits.push(...await group.step(rows));
  }
  group.close(sequence);
  for (const rank of ranks) rank.cache.checkIntegrity();
  return logits;
}

describe("a group of ranks", () => {
  const everything = { ranks: 2, latentGroups: 2, halo: 1e9 };
  const cuts: [name: string, options: PartitionOptions][] = [
    ["g = k = 1", { ...everything, ranks: 1, latentGroups: 1 }],
    ["g = k = 2", everything],
    ["g = k = 4", { ...everything, ranks: 4, latentGroups: 4 }],
    ["k = 4, g = 2", { ...everything, ranks: 4 }],
  ];
  for (
    const name of [
      "deepseek-v2-lite-tiny",
      "deepseek-v3-fp8-tiny",
      "glm4-moe-lite-tiny",
      "youtu-tiny",
      "minicpm3-longrope-tiny",
      "mistral3-tiny",
      "longcat-flash-tiny",
      "axk1-tiny",
      "deepseek-v32-tiny",
      "glm-moe-dsa-tiny",
    ] as const
  ) {
    it(`on ${name} is exact for whole keys in any basis, and for heads split alone`, async () => {
      const device = await openTestDevice("wasm");
      const { inputs: [tokens] } = await readGolden(name);
      const model = await load(device, name);
      const { spec } = model;
      const expected = (await runSequence(model, tokens.slice(0, LENGTH), "prefill", 64)).logits.subarray(PROMPT * spec.vocabSize);
      const compare = async (what: string, options: PartitionOptions, bases: readonly LayerBasis[] | null) => {
        const error = relativeError(await decodeOnGroup(device, name, tokens, options, bases), expected);
        assert(error <= TOLERANCE, `${what}: ${error}`);
      };
      const layers = <T>(make: () => T) => Array.from({ length: spec.layers }, make);
      for (const [cut, options] of cuts) {
        await compare(
          `random basis, ${cut}`,
          { ...options, halo: spec.latentWidth },
          layers(() => randomBasis(spec.latentWidth)),
        );
      }
      const statistics = layers(() => randomStatistics(spec.latentWidth));
      for (const kind of ["identity", "hadamard", "pca", "balanced"] as const) {
        const bases = statistics.map((one) => chooseBasis(kind, spec.latentWidth, one));
        for (const [cut, options] of cuts.slice(1)) await compare(`${kind}, ${cut}`, { ...options, halo: spec.latentWidth }, bases);
      }
      for (const ranks of [1, 2, 4]) {
        for (const feedForward of ["sharded", "replicated"] as const) {
          await compare(`mla over ${ranks}, feed-forward ${feedForward}`, { ranks, latentGroups: 1, halo: 0, feedForward }, null);
        }
      }
      await device.close();
    });
  }

  it("loses less of tiny-mla with a halo than without, and nothing with whole keys", async () => {
    const device = await openTestDevice("wasm");
    using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    const calibrated = await readBasis((await files.open("basis.safetensors"))!);
    const { inputs: [tokens] } = await readGolden("tiny-mla");
    const model = await load(device, "tiny-mla");
    const expected = (await runSequence(model, tokens.slice(0, LENGTH), "prefill", 64)).logits.subarray(PROMPT * model.spec.vocabSize);
    const error = async (kind: BasisKind, halo: number) => {
      const bases = kind === "balanced"
        ? calibrated.defaults
        : calibrated.statistics.map((statistics) => chooseBasis(kind, calibrated.width, statistics));
      return relativeError(await decodeOnGroup(device, "tiny-mla", tokens, { ranks: 2, latentGroups: 2, halo }, bases), expected);
    };
    const [pca, balanced, halo] = [await error("pca", 0), await error("balanced", 0), await error("balanced", 16)];
    assert(0 < halo && halo < Math.min(balanced, pca) && Math.max(balanced, pca) < 0.1, `halo ${halo}, balanced ${balanced}, pca ${pca}`);
    assert((await error("balanced", 128)) < TOLERANCE, "whole keys are exact");
    await device.close();
  });
});
