/**
 * What one rank will take of its device, before anything is loaded.
 *
 * @module
 */
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { RankMemory } from "../../core/tpla/plan.ts";
import type { Assignment } from "../../core/wire/messages.ts";
import { PLAIN_FEATURES } from "../../kernels/device/device.ts";
import { MeasuringDevice } from "../../kernels/device/measuring_device.ts";
import { planWeights } from "./loader.ts";
import type { LatentCache } from "../forward/latent_cache.ts";
import { createMixedModels, type WholeLatents } from "../forward/mixed_models.ts";
import { Model, type ModelOptions } from "../forward/model.ts";
import { openModelFiles } from "./model_files.ts";

/** What is planned. */
export interface PlanMemoryOptions extends ModelOptions {
  readonly model: string;
  readonly weights: WeightPolicy;
  readonly shape: RankShape;
  /** What prompts are computed with, and where their latents lie, where a mixed rank generates from slices. */
  readonly promptShape?: RankShape;
  readonly promptCache?: WholeLatents["cache"] | null;
  readonly role: Assignment["role"];
  /** Halves of a step that run side by side. */
  readonly lanes: number;
  /** Whether latents change their basis. */
  readonly changesBasis: boolean;
  /** Whether the layer that drafts is loaded; default: it is not. */
  readonly mtp?: boolean;
  /** Whether the device may have matrix units, which take working memory of another size: the larger is planned for. */
  readonly matrixUnits: boolean;
}

/** Of workgroup memory, on GPUs whose matrix units are used. */
export const UNITS_WORKGROUP_BYTES = 49152;

/**
 * Goes through loading without reading weights.
 *
 * @param open how a model's files are opened
 * @throws {LatentmeshError} what loading would throw for want of space in bindings
 */
export async function planMemory(
  options: PlanMemoryOptions,
  open: (model: string) => ModelFiles & Disposable = openModelFiles,
): Promise<RankMemory> {
  using files = open(options.model);
  const spec = { ...parseModelConfig(await readConfigText(files), `${files.name}/config.json`), mtp: options.mtp ?? false };
  const { shape, changesBasis, lanes, promptShape, promptCache = null } = options;
  const checkpoint = await Checkpoint.open(files);
  const plan = (beside?: RankShape) => {
    const device = new MeasuringDevice();
    const bases = changesBasis ? [] : null;
    const planned = planWeights(device, checkpoint, spec, {
      weights: options.weights,
      shard: { shape, bases },
      beside: beside === undefined ? undefined : { shape: beside, bases },
    });
    return { ...planned, bytes: device.counters.allocatedBytes };
  };
  const { weights, beside, bytes: weightBytes } = plan(promptCache === null ? undefined : promptShape);
  const whole = promptCache === null ? null : { weights: beside!, cache: promptCache };
  let [cacheBytes, promptCacheBytes, activationBytes] = [0, 0, 0];
  for (const matrixUnits of options.matrixUnits ? [false, true] : [false]) {
    const working = new MeasuringDevice(matrixUnits ? { maxWorkgroupBytes: UNITS_WORKGROUP_BYTES } : {}, { ...PLAIN_FEATURES, matrixUnits });
    const model = options.role === "mixed" ? null : await Model.create(working, weights, options);
    const models = model === null ? await createMixedModels(working, weights, options, whole) : { decode: model, prefill: model };
    if (lanes === 2) await Model.twin(models.decode, weights);
    if (spec.mtp && options.role !== "prefill") await Model.draftHead(models.decode, weights);
    cacheBytes = bytesOf(models.decode.cache);
    promptCacheBytes = whole === null ? 0 : bytesOf(models.prefill.cache);
    activationBytes = Math.max(activationBytes, working.counters.allocatedBytes - cacheBytes - promptCacheBytes);
  }
  return {
    weightBytes,
    promptWeightBytes: whole === null ? 0 : weightBytes - plan().bytes,
    cacheBytes,
    promptCacheBytes,
    activationBytes,
  };
}

function bytesOf({ slots, tokenBytes }: LatentCache): number {
  return slots * tokenBytes;
}
