/**
 * Ranks draft together: behind a prompt that was computed elsewhere and handed over, in any basis, with the logits of a plain forward pass. What is not handed over
 * is the hidden state of the prompt's last position, which counts as zero for the token behind it.
 */
import { describe, it } from "@std/testing/bdd";
import { assert } from "@std/assert";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { basesFor } from "../../../core/tpla/choose_bases.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, type PartitionOptions, UNCUT } from "../../../core/tpla/partition.ts";
import { Random } from "../../../bench/support/random.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { LocalGroup } from "../../../workers/local/local_group.ts";
import { Model } from "../../../workers/forward/model.ts";
import { relativeError } from "../../support/compare.ts";
import { openTestDevice } from "../../support/devices.ts";
import { TEST_LIMITS } from "../../support/fixtures.ts";
import { ODD_MTP_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";
import { ReferenceModel } from "../../support/reference_model.ts";

const [PROMPT, LENGTH] = [20, 33];

/** Every rank keys on the whole latent, so that nothing is lost. */
const CUTS: Record<string, PartitionOptions> = {
  "heads split": { ranks: 2, latentGroups: 1, halo: 0 },
  "latents shared by tokens": { ranks: 2, latentGroups: 1, halo: 0, tokenShares: 2 },
  "values split, in another basis": { ranks: 2, latentGroups: 2, halo: ODD_MTP_CONFIG.kv_lora_rank },
  "values split, feed-forward blocks whole": { ranks: 3, latentGroups: 3, halo: ODD_MTP_CONFIG.kv_lora_rank, feedForward: "replicated" },
};

describe("ranks that draft together", () => {
  for (const [name, cut] of Object.entries(CUTS)) {
    it(`have the logits of a plain forward pass: ${name}`, async () => {
      const directory = await writeRandomCheckpoint(ODD_MTP_CONFIG);
      const device = await openTestDevice("wasm");
      try {
        using files = new DirectoryFiles(directory);
        const spec = { ...parseModelConfig((await files.text("config.json"))!, "config.json"), mtp: true };
        const bases = cut.latentGroups === 1 ? null : await basesFor(spec, { kind: "hadamard", lambda: 0 }, null);
        const load = async (ranks: number, shard: LoadShard) => {
          const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard });
          const model = await Model.create(device, weights, {
            group: { ...ALONE, rank: shard.shape.rank, ranks, wholeFeedForward: cut.feedForward === "replicated" },
            cacheDtype: "f32",
            maxTokens: 128,
            maxContext: 128,
            maxSequences: 2,
            limits: { ...TEST_LIMITS, prefillRows: 16 },
          });
          return { model, draft: await Model.draftHead(model, weights) };
        };
        const random = new Random();
        const tokens = Array.from({ length: LENGTH + 1 }, () => random.below(spec.vocabSize));
        const { model: prefill } = await load(1, { shape: partition(spec, UNCUT)[0], bases });
        const prompt = prefill.cache.open(PROMPT);
        prefill.cache.grow(prompt, PROMPT);
        for (const [start, end] of [[0, 16], [16, PROMPT]]) {
          prefill.record({ phase: "prefill", rows: tokens.slice(start, end).map((token, i) => ({ token, position: start + i, sequence: prompt })) });
          prefill.device.submit();
        }
        prompt.length = PROMPT;
        const shapes = partition(spec, cut);
        const ranks = await Promise.all(shapes.map((shape) => load(shapes.length, { shape, bases })));
        const [group, drafts] = await Promise.all([
          LocalGroup.create(ranks.map(({ model }) => model)),
          LocalGroup.create(ranks.map(({ draft }) => draft)),
        ]);
        const sequence = group.open(PROMPT);
        for (const [i, { model }] of ranks.entries()) {
          await handOver({ model: prefill, sequence: prompt }, { model, sequence: sequence[i] }, shapes[i], PROMPT);
        }
        for (let start = PROMPT; start < LENGTH; start += 3) {
          const end = Math.min(start + 3, LENGTH);
          await group.step(tokens.slice(start, end).map((token, i) => ({ token, position: start + i, sequence })));
        }
        const actual = await drafts.step([{ token: tokens[LENGTH], position: LENGTH, sequence }]);
        const reference = await ReferenceModel.open(files, spec);
        const hidden = reference.run(tokens).hidden.map((row, at) => at === PROMPT - 1 ? new Float64Array(row.length) : row);
        const error = relativeError(actual, reference.draft(tokens, hidden).logits[LENGTH]);
        assert(error < 2e-5, `${error}`);
      } finally {
        await device.close();
        await Deno.remove(directory, { recursive: true });
      }
    });
  }
});
