/**
 * Groups whose layers keep different numbers of directions compute what tensor-parallel latent attention is by definition, behind a prompt that was computed exactly and
 * handed over.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { inverse as invert, Matrix } from "ml-matrix";
import { CACHE_DTYPES, type CacheDtype } from "../../../core/cache/cache_dtype.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { cachedLayers } from "../../../core/model/spec.ts";
import type { LayerBasis } from "../../../core/tpla/layer_basis.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { latentColumns } from "../../../core/tpla/latent_columns.ts";
import { partition, type PartitionOptions, UNCUT } from "../../../core/tpla/partition.ts";
import { cacheBytesPerToken } from "../../../core/tpla/plan.ts";
import { Random } from "../../../bench/support/random.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { LocalGroup } from "../../../workers/local/local_group.ts";
import { Model } from "../../../workers/forward/model.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, isSoftware, openTestDevice } from "../../support/devices.ts";
import { TEST_LIMITS } from "../../support/fixtures.ts";
import { ODD_MTP_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";
import { ReferenceModel } from "../../support/reference_model.ts";

const [PROMPT, LENGTH] = [20, 33];
const WIDTH = 48;
/** Steps of 16 in the latent of 48, its whole width, and, where kernels have no say, any other. */
const CUTS: Record<string, PartitionOptions> = {
  "two groups": { ranks: 2, latentGroups: 2, halo: 8, widths: [32, 48, 40] },
  "three groups, heads split in them": { ranks: 6, latentGroups: 3, halo: 8, widths: [16, 37, 32], feedForward: "replicated" },
  "two groups that share tokens": { ranks: 4, latentGroups: 2, halo: 8, widths: [40, 24, 32], tokenShares: 2 },
};
/** Of logits to the reference's, which caches nothing; latents in eight bits are rounded to one of 255 levels. */
const TOLERANCE: Record<CacheDtype, number> = { f32: 2e-5, f16: 5e-3, q8: 0.1 };

/** An invertible matrix that is far from orthogonal, which would hide confusions of A and A⁻ᵀ. */
function randomBasis(): LayerBasis {
  const A = Matrix.add(Matrix.from1DArray(WIDTH, WIDTH, new Random().normals(WIDTH * WIDTH, 0.5 / Math.sqrt(WIDTH))), Matrix.eye(WIDTH));
  const flat = (matrix: Matrix) => Float64Array.from(matrix.to1DArray());
  return { transform: flat(A.transpose()), inverse: flat(invert(A).transpose()), eigenvalues: new Float64Array() };
}

describeModelsOnDevices("layers of different widths", (kind) => {
  // Drivers in software compile for a minute what others have at once.
  const [cuts, dtypes] = isSoftware(kind) ? [Object.entries(CUTS).slice(0, 1), ["f16"] as const] : [Object.entries(CUTS), CACHE_DTYPES];
  for (const [name, cut] of cuts) {
    it(`are what they are by definition: ${name}`, async () => {
      const device = await openTestDevice(kind);
      const directory = await writeRandomCheckpoint({ ...ODD_MTP_CONFIG, hidden_size: 48, kv_lora_rank: WIDTH, num_attention_heads: 6 });
      try {
        using files = new DirectoryFiles(directory);
        // The layer that drafts has latents, too, and no width that was chosen.
        const spec = { ...parseModelConfig((await files.text("config.json"))!, "config.json"), mtp: true };
        const bases = Array.from({ length: cachedLayers(spec) }, randomBasis);
        const columns = cut.widths!.map((width) => latentColumns(WIDTH, { ...cut, width })!);
        const random = new Random();
        const tokens = Array.from({ length: LENGTH }, () => random.below(spec.vocabSize));
        const reference = (await ReferenceModel.open(files, spec)).run(tokens, { from: PROMPT, bases, columns }).logits.slice(PROMPT);
        const exact = (await ReferenceModel.open(files, spec)).run(tokens).logits.slice(PROMPT);
        const expected = reference.flatMap((row) => [...row]);
        assert(relativeError(exact.flatMap((row) => [...row]), expected) > 5 * TOLERANCE.f16, "the cut is felt");
        for (const cacheDtype of dtypes) {
          const load = async (ranks: number, shard: LoadShard) => {
            const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard });
            return await Model.create(device, weights, {
              group: { ...ALONE, rank: shard.shape.rank, ranks, wholeFeedForward: cut.feedForward === "replicated" },
              cacheDtype,
              maxTokens: 256,
              maxContext: 128,
              maxSequences: 2,
              limits: { ...TEST_LIMITS, prefillRows: 32 },
            });
          };
          const prefill = await load(1, { shape: partition(spec, UNCUT, cut)[0], bases });
          const prompt = prefill.cache.open(PROMPT);
          prefill.cache.grow(prompt, PROMPT);
          prefill.record({ phase: "prefill", rows: tokens.slice(0, PROMPT).map((token, position) => ({ token, position, sequence: prompt })) });
          prefill.device.submit();
          prompt.length = PROMPT;
          const shapes = partition(spec, cut);
          const ranks: Model[] = [];
          for (const shape of shapes) ranks.push(await load(shapes.length, { shape, bases }));
          const group = await LocalGroup.create(ranks);
          const sequence = group.open(PROMPT);
          for (const [i, model] of ranks.entries()) {
            await handOver({ model: prefill, sequence: prompt }, { model, sequence: sequence[i] }, shapes[i], PROMPT);
            // Values begin where words do, which the formula leaves out.
            if (cacheDtype === "q8") assertEquals(model.cache.tokenBytes, cacheBytesPerToken(spec, shapes[i], cacheDtype));
          }
          const logits: number[] = [];
          for (let start = PROMPT; start < LENGTH; start += 3) {
            const rows = tokens.slice(start, start + 3).map((token, i) => ({ token, position: start + i, sequence }));
            logits.push(...await group.step(rows));
          }
          const error = relativeError(logits, expected);
          assert(error < TOLERANCE[cacheDtype], `${cacheDtype}: ${error}`);
          for (const model of ranks) model.cache.checkIntegrity();
        }
      } finally {
        await device.close();
        await Deno.remove(directory, { recursive: true });
      }
    });
  }
});
