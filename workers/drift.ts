/**
 * Drift: what a way of decoding costs in accuracy, for this model and this text. Prompts are prefilled exactly and handed over; the rest of each document is decoded by
 * the group, teacher-forced, with the code that serves; every prediction is compared with exact MLA's.
 *
 * @module
 */
import { Checkpoint } from "../core/model/checkpoint.ts";
import { parseModelConfig } from "../core/model/config.ts";
import { LatentmeshError } from "../core/errors.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import { BASIS_DEFAULTS, chooseBasis, type LayerBasis } from "../core/tpla/basis.ts";
import { layerBases, readBasis } from "../core/tpla/basis_file.ts";
import { Divergence } from "../core/tpla/divergence.ts";
import type { DriftReport, DriftRequest } from "../core/tpla/drift.ts";
import { defaultHalo, partition, type RankShape } from "../core/tpla/partition.ts";
import { cachedWidth } from "../core/tpla/plan.ts";
import { TextTokenizer } from "../core/text/tokenizer.ts";
import type { Device } from "../kernels/device.ts";
import { type DeviceChoice, openDevice } from "../kernels/providers.ts";
import type { CachedSequence } from "./latent_cache.ts";
import { handOver } from "./handoff.ts";
import { loadWeights } from "./loader.ts";
import { LocalGroup } from "./local_group.ts";
import { Model } from "./model.ts";
import { DirectoryFiles } from "./model_files.ts";

/** A {@link DriftRequest} and where it runs. */
export interface DriftOptions extends DriftRequest {
  readonly model: string;
  readonly device: DeviceChoice;
  readonly dawn?: string;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** Tokens that are decoded in one step: as many positions of one sequence. */
const CHUNK = 32;
const PREFILL_CHUNK = 256;

/** Measures drift. @throws {LatentmeshError} `invalid_config` if the options do not fit each other or the model */
export async function measureDrift(options: DriftOptions): Promise<DriftReport> {
  using files = new DirectoryFiles(options.model);
  const configText = await files.text("config.json");
  if (configText === null) throw new LatentmeshError("not_found", `Cannot measure ${files.name}: it is not a model directory (no config.json in it)`);
  const spec = parseModelConfig(configText, `${files.name}/config.json`);
  const shapes = partition(spec, cutOf(spec, options));
  const bases = options.attention === "mla" ? null : await chooseBases(files, spec, options);
  const tokenizer = await TextTokenizer.load(files);
  const limit = Math.min(options.limitTokens, spec.maxPositions);
  const sequences = options.documents.map((text) => tokenizer.withBos(tokenizer.encode(text, { special: true })).slice(0, limit));
  const { device } = await openDevice(options.device, { dawn: options.dawn });
  try {
    const models = await loadModels(device, await Checkpoint.open(files), spec, shapes, bases, Math.max(...sequences.map(({ length }) => length)));
    const run = new DriftRun(models, shapes, await LocalGroup.create(models.ranks));
    const total = sequences.reduce((sum, { length }) => sum + length, 0);
    let done = 0;
    for (const tokens of sequences) {
      await run.document(tokens, Math.min(options.prefix ?? Math.floor(tokens.length / 2), tokens.length - 1));
      options.onProgress?.({ done: done += tokens.length, total });
    }
    const { kl, agreement, perplexity, predictions } = run.divergence;
    return { kl, agreement, perplexity, widths: shapes.map((shape) => cachedWidth(spec, shape)), tokens: predictions };
  } finally {
    await device.close();
  }
}

function cutOf(spec: ModelSpec, { attention, ranks, latentGroups, halo }: DriftOptions) {
  if (attention === "tpla") return { ranks, latentGroups: latentGroups ?? ranks, halo: halo ?? defaultHalo(spec.latentWidth) };
  if ((latentGroups ?? 1) !== 1) {
    throw new LatentmeshError(
      "invalid_config",
      `latentGroups is ${latentGroups}, but attention "mla" keeps whole latents on every rank (latentGroups 1)`,
      {
        param: "decode.latentGroups",
      },
    );
  }
  return { ranks, latentGroups: 1, halo: 0 };
}

async function chooseBases(files: DirectoryFiles, spec: ModelSpec, { basis, lambda }: DriftOptions): Promise<readonly LayerBasis[]> {
  if (basis === "identity" || basis === "hadamard") return Array.from({ length: spec.layers }, () => chooseBasis(basis, spec.latentWidth, null));
  const source = await files.open("basis.safetensors");
  if (source === null) {
    throw new LatentmeshError(
      "not_found",
      `The ${basis} basis needs ${files.name}/basis.safetensors; make it with "deno task calibrate --model ${files.name}"`,
    );
  }
  return layerBases(await readBasis(source), basis, { ...BASIS_DEFAULTS, lambda });
}

interface Models {
  /** Exact, with whole latents in the group's basis. */
  readonly whole: Model;
  readonly ranks: readonly Model[];
}

async function loadModels(
  device: Device,
  checkpoint: Checkpoint,
  spec: ModelSpec,
  shapes: readonly RankShape[],
  bases: readonly LayerBasis[] | null,
  maxContext: number,
): Promise<Models> {
  const load = async (shape: RankShape, prefillRows: number) => {
    const weights = await loadWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases } });
    const limits = { prefillRows, decodeRows: CHUNK, window: Math.min(512, maxContext), logitRows: CHUNK };
    const cacheDtype = device.kind === "cpu" ? "f32" : "f16";
    return await Model.create(device, weights, { cacheDtype, maxTokens: maxContext, maxContext, maxSequences: 1, limits });
  };
  const ranks: Model[] = [];
  for (const shape of shapes) ranks.push(await load(shape, 1));
  return { whole: await load(partition(spec, { ranks: 1, latentGroups: 1, halo: 0 })[0], PREFILL_CHUNK), ranks };
}

class DriftRun {
  readonly divergence = new Divergence();
  readonly #models: Models;
  readonly #shapes: readonly RankShape[];
  readonly #group: LocalGroup;

  constructor(models: Models, shapes: readonly RankShape[], group: LocalGroup) {
    this.#models = models;
    this.#shapes = shapes;
    this.#group = group;
  }

  async document(tokens: readonly number[], prefix: number): Promise<void> {
    const { whole, ranks } = this.#models;
    const exact = whole.cache.open();
    const sequence = this.#group.open();
    for (let start = 0; start < prefix; start += PREFILL_CHUNK) this.#prefill(exact, tokens.slice(start, Math.min(start + PREFILL_CHUNK, prefix)));
    for (const [i, model] of ranks.entries()) {
      await handOver({ model: whole, sequence: exact }, { model, sequence: sequence[i] }, this.#shapes[i], prefix);
    }
    for (let start = prefix; start < tokens.length; start += CHUNK) {
      const chunk = tokens.slice(start, start + CHUNK);
      this.#prefill(exact, chunk);
      whole.head.recordLogits("prefill", 0, chunk.length);
      const expected = await whole.head.logits(chunk.length);
      const actual = await this.#group.step(chunk.map((token, i) => ({ token, position: start + i, sequence })));
      this.#compare(expected, actual, tokens.slice(start + 1, start + CHUNK + 1), chunk.length);
    }
    this.#group.close(sequence);
    whole.cache.close(exact);
  }

  #prefill(sequence: CachedSequence, tokens: readonly number[]): void {
    const { whole } = this.#models;
    whole.cache.grow(sequence, tokens.length);
    whole.record({ phase: "prefill", rows: tokens.map((token, i) => ({ token, position: sequence.length + i, sequence })) });
    whole.device.submit();
    sequence.length += tokens.length;
  }

  #compare(expected: Float32Array, actual: Float32Array, targets: readonly number[], rows: number): void {
    const vocabulary = expected.length / rows;
    for (let row = 0; row < rows; row++) {
      const of = (logits: Float32Array) => logits.subarray(row * vocabulary, (row + 1) * vocabulary);
      this.divergence.add(of(expected), of(actual), targets[row] ?? null);
    }
  }
}
