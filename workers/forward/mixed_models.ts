/**
 * What a mixed rank computes with: one model and one cache, with working memory for chunks and for steps.
 *
 * @module
 */
import { UNUSED_WINDOW } from "../../core/model/prefill_sizes.ts";
import type { Device } from "../../kernels/device/device.ts";
import { Model, type ModelOptions } from "./model.ts";
import type { ModelWeights } from "./weights.ts";

/** A model for each phase, over one cache. */
export interface MixedModels {
  readonly prefill: Model;
  readonly decode: Model;
}

/** @param options whose limits are those of chunks and of steps @throws {LatentmeshError} `out_of_memory` */
export async function createMixedModels(device: Device, weights: ModelWeights, options: ModelOptions): Promise<MixedModels> {
  const { limits, maxContext } = options;
  const { prefillRows, decodeRows, logitRows } = limits;
  const decode = await Model.create(device, weights, {
    ...options,
    limits: { prefillRows: 1, decodeRows, window: Math.min(UNUSED_WINDOW, maxContext), logitRows: Math.min(logitRows, decodeRows) },
  });
  return { decode, prefill: await Model.twin(decode, weights, { ...limits, decodeRows: 1, logitRows: Math.min(logitRows, prefillRows) }) };
}
