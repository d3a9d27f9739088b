/**
 * What a mixed rank computes with: a model for chunks and one for steps, with working memory of their own. They have one cache, unless steps read only a slice of latents:
 * then whole latents of prompts have a cache beside it, and attention weights are there in both partitions; all other weights are there once.
 *
 * @module
 */
import { UNUSED_WINDOW } from "../../core/model/prefill_sizes.ts";
import { promptPlace } from "../../core/tpla/group_place.ts";
import type { Device } from "../../kernels/device/device.ts";
import { Model, type ModelOptions } from "./model.ts";
import type { ModelWeights } from "./weights.ts";

/** A model for each phase. */
export interface MixedModels {
  readonly prefill: Model;
  readonly decode: Model;
}

/** What prompts are computed with where steps read slices of latents. */
export interface WholeLatents {
  /** Attention over whole latents, and otherwise the buffers that steps read. */
  readonly weights: ModelWeights;
  /** The cache of prompts in progress, and of prefixes. */
  readonly cache: Pick<ModelOptions, "maxTokens" | "maxSequences">;
}

/**
 * @param options whose limits are those of chunks and of steps
 * @param whole null: prompts are generated from where they are computed
 * @throws {LatentmeshError} `out_of_memory`
 */
export async function createMixedModels(
  device: Device,
  weights: ModelWeights,
  options: ModelOptions,
  whole: WholeLatents | null = null,
): Promise<MixedModels> {
  const { limits, maxContext } = options;
  const { prefillRows, decodeRows, logitRows } = limits;
  const decode = await Model.create(device, weights, {
    ...options,
    limits: { prefillRows: 1, decodeRows, window: Math.min(UNUSED_WINDOW, maxContext), logitRows: Math.min(logitRows, decodeRows) },
  });
  const ofChunks = { ...limits, decodeRows: 1, logitRows: Math.min(logitRows, prefillRows) };
  const prefill = whole === null ? await Model.twin(decode, weights, ofChunks) : await Model.create(device, whole.weights, {
    ...options,
    ...whole.cache,
    group: promptPlace(decode.group),
    limits: ofChunks,
    caches: "prompts",
    clock: decode.clock,
  });
  return { decode, prefill };
}
