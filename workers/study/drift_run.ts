/**
 * Decoding beside exact attention: prompts are prefilled exactly and handed over; the rest of each document is decoded by a group, teacher-forced, with the code that
 * serves; every prediction is compared with exact MLA's.
 *
 * @module
 */
import { type CacheDtype, type IndexDtype, indexDtypeFor } from "../../core/cache/cache_dtype.ts";
import { cacheDtypeOf } from "../../core/device_kind.ts";
import type { Checkpoint } from "../../core/model/checkpoint.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { LayerBasis } from "../../core/tpla/layer_basis.ts";
import { Divergence } from "../../core/tpla/divergence.ts";
import { ALONE, type GroupPlace } from "../../core/tpla/group_place.ts";
import { partition, type PartitionOptions, type RankShape, UNCUT } from "../../core/tpla/partition.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type DeviceChoice, openDevice } from "../../kernels/device/providers.ts";
import { Model, type ModelOptions } from "../forward/model.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { ModelWeights } from "../forward/weights.ts";
import { handOver } from "../handoff/hand_over.ts";
import { loadWeights } from "../load/loader.ts";
import { LocalGroup } from "../local/local_group.ts";

/** A text, of which the first tokens are a prompt. */
export interface DriftDocument {
  readonly tokens: readonly number[];
  /** Tokens that are prefilled, fewer than there are. */
  readonly prefix: number;
}

/** What is run. */
export interface DriftRunOptions {
  readonly checkpoint: Checkpoint;
  readonly spec: ModelSpec;
  readonly cut: PartitionOptions;
  readonly bases: readonly LayerBasis[] | null;
  readonly mu: number;
  readonly paper: boolean;
  readonly documents: readonly DriftDocument[];
  readonly device: DeviceChoice;
  readonly dawn?: string;
  /** See `DriftRequest`. */
  readonly cacheDtype?: CacheDtype;
  readonly indexDtype?: IndexDtype;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** Tokens that are decoded in one step: as many positions of one sequence. */
const CHUNK = 32;
const PREFILL_CHUNK = 256;

/** Runs both. @returns how far they are from each other, and the precision in which the group has cached latents */
export async function runDrift(options: DriftRunOptions): Promise<{ readonly divergence: Divergence; readonly cacheDtype: CacheDtype }> {
  const { documents, spec, cut, onProgress } = options;
  const { device } = await openDevice(options.device, { dawn: options.dawn });
  try {
    const shapes = partition(spec, cut);
    const maxContext = Math.max(...documents.map(({ tokens: { length } }) => length));
    const models = await loadModels(device, shapes, maxContext, options);
    const run = new DriftRun(models, shapes, await LocalGroup.create(models.ranks));
    const total = documents.reduce((sum, { tokens: { length } }) => sum + length, 0);
    let done = 0;
    for (const { tokens, prefix } of documents) {
      await run.document(tokens, prefix);
      onProgress?.({ done: done += tokens.length, total });
    }
    return { divergence: run.divergence, cacheDtype: models.prompts.cache.dtype };
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

async function loadModels(device: Device, shapes: readonly RankShape[], maxContext: number, options: DriftRunOptions): Promise<Models> {
  const { checkpoint, spec, bases, cut } = options;
  const exact = cacheDtypeOf(device.kind);
  const { cacheDtype = exact } = options;
  const indexDtype = indexDtypeFor(cacheDtype, options.indexDtype);
  const load = (shape: RankShape, { keyScale, slicedNorm }: { readonly keyScale: number; readonly slicedNorm: boolean }) =>
    loadWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases, keyScale, slicedNorm } });
  const create = (weights: ModelWeights, dtypes: Pick<ModelOptions, "cacheDtype" | "indexDtype">, group: GroupPlace, prefillRows: number) => {
    const limits = { prefillRows, decodeRows: CHUNK, window: Math.min(512, maxContext), logitRows: CHUNK };
    return Model.create(device, weights, { group, ...dtypes, maxTokens: maxContext, maxContext, maxSequences: 1, limits });
  };
  const ranks: Model[] = [];
  for (const shape of shapes) {
    const weights = await load(shape, { keyScale: options.mu, slicedNorm: options.paper });
    ranks.push(await create(weights, { cacheDtype, indexDtype }, { ...ALONE, rank: shape.rank, ranks: shapes.length }, 1));
  }
  const [wholeShape] = partition(spec, UNCUT, cut);
  const weights = await load(wholeShape, { keyScale: 1, slicedNorm: false });
  const whole = await create(weights, { cacheDtype: exact }, ALONE, PREFILL_CHUNK);
  const same = cacheDtype === exact && indexDtype === indexDtypeFor(exact);
  return { whole, prompts: same ? whole : await create(weights, { cacheDtype, indexDtype }, ALONE, PREFILL_CHUNK), ranks };
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
