/**
 * The layer that drafts: its logits are those of a plain forward pass in float64, however its cache was filled, and what was drafted and was wrong leaves no trace.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { parseModelConfig } from "../../../core/model/config.ts";
import type { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import type { Model } from "../../../workers/forward/model.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { Random } from "../../../bench/support/random.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, itOnHardware, openTestDevice } from "../../support/devices.ts";
import { loadDraftingModel } from "../../support/fixtures.ts";
import { ODD_MTP_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";
import { ReferenceModel } from "../../support/reference_model.ts";

/** Nothing that divides anything, and as published models have it: experts in every layer but the first. */
const CONFIGS: Record<string, typeof ODD_MTP_CONFIG> = {
  "odd sizes": ODD_MTP_CONFIG,
  "queries that are not compressed, and dense": { ...ODD_MTP_CONFIG, q_lora_rank: null, first_k_dense_replace: 9, n_shared_experts: null },
};

/** Computes tokens of a sequence behind what it has, in steps of `chunk` rows. */
async function compute(model: Model, sequence: CachedSequence, tokens: readonly number[], phase: "prefill" | "decode", chunk: number): Promise<void> {
  for (let at = 0; at < tokens.length; at += chunk) {
    const part = tokens.slice(at, at + chunk);
    model.cache.grow(sequence, part.length);
    model.record({ phase, rows: part.map((token, i) => ({ token, position: sequence.length + i, sequence })) });
    model.device.submit();
    sequence.length += part.length;
  }
  await model.device.settle();
}

/** Logits of drafts behind sequences. */
async function draftLogits(
  draft: Model,
  rows: readonly { readonly token: number; readonly position: number; readonly sequence: CachedSequence }[],
): Promise<Float32Array[]> {
  for (const { sequence, position } of rows) draft.cache.grow(sequence, position + 1 - sequence.length);
  draft.record({ phase: "decode", rows });
  draft.head.recordLogits("decode", 0, rows.length);
  const logits = await draft.head.logits(rows.length);
  return rows.map((_, row) => logits.slice(row * draft.spec.vocabSize, (row + 1) * draft.spec.vocabSize));
}

describeModelsOnDevices("the layer that drafts", (kind) => {
  for (const [name, config] of Object.entries(CONFIGS)) {
    // One of them is compiled by a software driver in a minute.
    const test = config === ODD_MTP_CONFIG ? it : itOnHardware(kind);
    test(`has the logits of a plain forward pass: ${name}`, async () => {
      const directory = await writeRandomCheckpoint(config);
      const device = await openTestDevice(kind);
      try {
        using files = new DirectoryFiles(directory);
        const reference = await ReferenceModel.open(files, parseModelConfig((await files.text("config.json"))!, "config.json"));
        const random = new Random();
        const tokens = Array.from({ length: 44 }, () => random.below(config.vocab_size));
        const { hidden, logits } = reference.run(tokens);
        const expected = reference.draft(tokens, hidden);
        // Another draft behind one: its hidden state is that of the draft.
        const further = reference.draft([...tokens, 5], [...hidden.slice(0, -1), expected.hidden[tokens.length - 1]]);
        for (const [prompt, chunk] of [[43, 43], [33, 16], [1, 1], [20, 7]]) {
          const { model, draft } = await loadDraftingModel(device, directory);
          const sequence = model.cache.open(prompt);
          await compute(model, sequence, tokens.slice(0, prompt), "prefill", chunk);
          model.head.recordLogits("prefill", (prompt - 1) % chunk, 1);
          const error = relativeError(await model.head.logits(1), logits[prompt - 1]);
          assert(error < 2e-5, `the model itself: ${error}`);
          await compute(model, sequence, tokens.slice(prompt, 43), "decode", 3);
          const [first] = await draftLogits(draft, [{ token: tokens[43], position: 43, sequence }]);
          const [second] = await draftLogits(draft, [{ token: 5, position: 44, sequence }]);
          for (const [actual, wanted, what] of [[first, expected.logits[43], "the first"], [second, further.logits[44], "the second"]] as const) {
            const error = relativeError(actual, wanted);
            assert(error < 2e-5, `${what} draft behind a prompt of ${prompt} in chunks of ${chunk}: ${error}`);
          }
          model.cache.close(sequence);
        }
      } finally {
        await device.close();
        await Deno.remove(directory, { recursive: true });
      }
    });
  }

  itOnHardware(kind)("is left as it was by drafts that were wrong, and drafts alike for several sequences at a time", async () => {
    const directory = await writeRandomCheckpoint(ODD_MTP_CONFIG);
    const device = await openTestDevice(kind);
    try {
      const random = new Random();
      const drawn = (length: number) => Array.from({ length }, () => random.below(ODD_MTP_CONFIG.vocab_size));
      const texts = [drawn(30), drawn(21)];
      const { model, draft } = await loadDraftingModel(device, directory);
      const run = async (guesses: boolean, texts: readonly (readonly number[])[]) => {
        const sequences = texts.map(() => model.cache.open(12));
        for (const [i, sequence] of sequences.entries()) await compute(model, sequence, texts[i].slice(0, 12), "prefill", 5);
        const found: Float32Array[] = [];
        for (let position = 12; position < 20; position++) {
          const rows = sequences.map((sequence, i) => ({ token: texts[i][position], position, sequence }));
          if (position > 12) {
            found.push(...await draftLogits(draft, rows));
            if (guesses) await draftLogits(draft, sequences.map((sequence) => ({ token: 7, position: position + 1, sequence })));
          }
          // What is verified beside the right token is not kept.
          const wrong = guesses ? [8, 9].flatMap((token, at) => sequences.map((sequence) => ({ token, position: position + 1 + at, sequence }))) : [];
          for (const { sequence, position } of wrong) model.cache.grow(sequence, position + 1 - sequence.length);
          for (const sequence of sequences) model.cache.grow(sequence, 1);
          model.record({ phase: "decode", rows: [...rows, ...wrong] });
          model.device.submit();
          await model.device.settle();
          for (const sequence of sequences) sequence.length++;
        }
        for (const sequence of sequences) model.cache.close(sequence);
        return found;
      };
      const [plain, guessed] = [await run(false, texts), await run(true, texts)];
      assertEquals(guessed, plain);
      for (const [i, text] of texts.entries()) {
        assertEquals(await run(false, [text]), plain.filter((_, at) => at % 2 === i));
      }
      model.cache.checkIntegrity();
    } finally {
      await device.close();
      await Deno.remove(directory, { recursive: true });
    }
  });
});
