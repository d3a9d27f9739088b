/**
 * Drift: what a way of decoding costs in accuracy, for this model and this text. Prompts are prefilled exactly and handed over; the rest of each document is decoded by
 * the group, teacher-forced, with the code that serves; every prediction is compared with exact MLA's.
 *
 * @module
 */
import type { CacheDtype } from "../../core/cache/cache_dtype.ts";
import { cacheDtypeOf } from "../../core/device_kind.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { readConfigText } from "../../core/model_package.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { LayerBasis } from "../../core/tpla/basis.ts";
import { basesFor } from "../../core/tpla/choose_bases.ts";
import { Divergence } from "../../core/tpla/divergence.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { DriftReport, DriftRequest } from "../../core/tpla/drift.ts";
import { ALONE, type GroupPlace } from "../../core/tpla/group_place.ts";
import { partition, type RankShape, UNCUT } from "../../core/tpla/partition.ts";
import { resolveBasis, resolveCut } from "../../core/tpla/scheme.ts";
import { cacheBytesPerToken, cachedWidth, perToken } from "../../core/tpla/plan.ts";
import { TextTokenizer } from "../../core/text/tokenizer.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type DeviceChoice, openDevice } from "../../kernels/device/providers.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import { handOver } from "../handoff/hand_over.ts";
import { loadWeights } from "../load/loader.ts";
import { LocalGroup } from "../local/local_group.ts";
import { Model } from "../forward/model.ts";
import { openModelFiles } from "../load/model_files.ts";
import type { ModelWeights } from "../forward/weights.ts";

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
  using files = openModelFiles(options.model);
  const configText = await readConfigText(files);
  const spec = parseModelConfig(configText, `${files.name}/config.json`);
  const shapes = partition(spec, resolveCut(spec, options));
  const basis = resolveBasis(options);
  const bases = basis === null ? null : await basesFor(spec, basis, await files.open("basis.safetensors"));
  const tokenizer = await TextTokenizer.load(files);
  const limit = Math.min(options.limitTokens, spec.maxPositions);
  const sequences = options.documents.map((text) => tokenizer.withBos(tokenizer.encode(text, { special: true })).slice(0, limit));
  const prefixOf = ({ length }: readonly number[]) => Math.min(options.prefix ?? Math.floor(length / 2), length - 1);
  // The last token of a document has none after it to be compared with.
  if (sequences.every((tokens) => tokens.length - prefixOf(tokens) < 2)) {
    const longest = Math.max(...sequences.map(({ length }) => length));
    throw new LatentmeshError(
      "invalid_config",
      `Nothing is left to compare: the longest document has ${longest} tokens within --limit-tokens ${options.limitTokens}, of which ` +
        `${options.prefix ?? "half"} are a prefix; give longer documents, a higher limit or a shorter --prefix`,
      { param: "prefix" },
    );
  }
  const { device } = await openDevice(options.device, { dawn: options.dawn });
  try {
    const maxContext = Math.max(...sequences.map(({ length }) => length));
    const models = await loadModels({ device, checkpoint: await Checkpoint.open(files), spec, shapes, bases, maxContext, options });
    const run = new DriftRun(models, shapes, await LocalGroup.create(models.ranks));
    const total = sequences.reduce((sum, { length }) => sum + length, 0);
    let done = 0;
    for (const tokens of sequences) {
      await run.document(tokens, prefixOf(tokens));
      options.onProgress?.({ done: done += tokens.length, total });
    }
    const { kl, agreement, perplexity, predictions } = run.divergence;
    const { config: { dtype: cacheDtype } } = models.prompts.cache;
    const widths = shapes.map((shape) => perToken(shape, cachedWidth(spec, shape)));
    const bytes = shapes.map((shape) => perToken(shape, cacheBytesPerToken(spec, shape, cacheDtype)));
    return { kl, agreement, perplexity, widths, cacheDtype, bytes, tokens: predictions };
  } finally {
    await device.close();
  }
}

interface Models {
  /** Exact, with whole latents in the group's basis. */
  readonly whole: Model;
  /** The same but for the precision of latents, where the group's is another: what computes prompts for it. */
  readonly prompts: Model;
  readonly ranks: readonly Model[];
}

interface LoadInputs {
  readonly device: Device;
  readonly checkpoint: Checkpoint;
  readonly spec: ModelSpec;
  readonly shapes: readonly RankShape[];
  readonly bases: readonly LayerBasis[] | null;
  readonly maxContext: number;
  readonly options: DriftOptions;
}

async function loadModels({ device, checkpoint, spec, shapes, bases, maxContext, options }: LoadInputs): Promise<Models> {
  const exact = cacheDtypeOf(device.kind);
  const { cacheDtype = exact } = options;
  const load = (shape: RankShape, { keyScale, slicedNorm }: { readonly keyScale: number; readonly slicedNorm: boolean }) =>
    loadWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases, keyScale, slicedNorm } });
  const create = (weights: ModelWeights, cacheDtype: CacheDtype, group: GroupPlace, prefillRows: number) => {
    const limits = { prefillRows, decodeRows: CHUNK, window: Math.min(512, maxContext), logitRows: CHUNK };
    return Model.create(device, weights, { group, cacheDtype, maxTokens: maxContext, maxContext, maxSequences: 1, limits });
  };
  const ranks: Model[] = [];
  for (const shape of shapes) {
    const weights = await load(shape, { keyScale: options.mu, slicedNorm: options.paper });
    ranks.push(await create(weights, cacheDtype, { ...ALONE, rank: shape.rank, ranks: shapes.length }, 1));
  }
  const [wholeShape] = partition(spec, UNCUT, resolveCut(spec, options));
  const weights = await load(wholeShape, { keyScale: 1, slicedNorm: false });
  const whole = await create(weights, exact, ALONE, PREFILL_CHUNK);
  return { whole, prompts: cacheDtype === exact ? whole : await create(weights, cacheDtype, ALONE, PREFILL_CHUNK), ranks };
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
    const { whole, prompts, ranks } = this.#models;
    const exact = whole.cache.open(prefix);
    const prompt = prompts === whole ? exact : prompts.cache.open(prefix);
    const sequence = this.#group.open(prefix);
    for (let start = 0; start < prefix; start += PREFILL_CHUNK) {
      const chunk = tokens.slice(start, Math.min(start + PREFILL_CHUNK, prefix));
      prefill(whole, exact, chunk);
      if (prompts !== whole) prefill(prompts, prompt, chunk);
    }
    for (const [i, model] of ranks.entries()) {
      await handOver({ model: prompts, sequence: prompt }, { model, sequence: sequence[i] }, this.#shapes[i], prefix);
    }
    for (let start = prefix; start < tokens.length; start += CHUNK) {
      const chunk = tokens.slice(start, start + CHUNK);
      prefill(whole, exact, chunk);
      whole.head.recordLogits("prefill", 0, chunk.length);
      const expected = await whole.head.logits(chunk.length);
      const actual = await this.#group.step(chunk.map((token, i) => ({ token, position: start + i, sequence })));
      this.#compare(expected, actual, tokens.slice(start + 1, start + CHUNK + 1), chunk.length);
    }
    this.#group.close(sequence);
    whole.cache.close(exact);
    if (prompts !== whole) prompts.cache.close(prompt);
  }

  #compare(expected: Float32Array, actual: Float32Array, targets: readonly number[], rows: number): void {
    const vocabulary = expected.length / rows;
    for (let row = 0; row < rows; row++) {
      const of = (logits: Float32Array) => logits.subarray(row * vocabulary, (row + 1) * vocabulary);
      this.divergence.add(of(expected), of(actual), targets[row] ?? null);
    }
  }
}

function prefill(model: Model, sequence: CachedSequence, tokens: readonly number[]): void {
  model.cache.grow(sequence, tokens.length);
  model.record({ phase: "prefill", rows: tokens.map((token, i) => ({ token, position: sequence.length + i, sequence })) });
  model.device.submit();
  sequence.length += tokens.length;
}
