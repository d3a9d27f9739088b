/**
 * What one rank will take of its device, before anything is loaded.
 *
 * @module
 */
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import { readConfigText } from "../../core/model_package.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { RankMemory } from "../../core/tpla/plan.ts";
import type { Assignment } from "../../core/wire/messages.ts";
import { cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import { PLAIN_FEATURES } from "../../kernels/device/device.ts";
import { MeasuringDevice } from "../../kernels/device/measuring_device.ts";
import { loadWeights } from "./loader.ts";
import { createMixedModels } from "../forward/mixed_models.ts";
import { Model, type ModelOptions } from "../forward/model.ts";
import { openModelFiles } from "./model_files.ts";

/** What is planned. */
export interface PlanMemoryOptions extends ModelOptions {
  readonly model: string;
  readonly weights: WeightPolicy;
  readonly shape: RankShape;
  readonly role: Assignment["role"];
  /** Halves of a step that run side by side. */
  readonly lanes: number;
  /** Whether latents change their basis. */
  readonly changesBasis: boolean;
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
  const spec = parseModelConfig(await readConfigText(files), `${files.name}/config.json`);
  const device = new MeasuringDevice();
  const { shape, changesBasis, lanes } = options;
  const weights = await loadWeights(device, await Checkpoint.open(files), spec, {
    weights: options.weights,
    shard: { shape, bases: changesBasis ? [] : null },
    dry: true,
  });
  let [cacheBytes, activationBytes] = [0, 0];
  for (const matrixUnits of options.matrixUnits ? [false, true] : [false]) {
    const working = new MeasuringDevice(matrixUnits ? { maxWorkgroupBytes: UNITS_WORKGROUP_BYTES } : {}, { ...PLAIN_FEATURES, matrixUnits });
    const model = options.role === "mixed"
      ? (await createMixedModels(working, weights, options)).decode
      : await Model.create(working, weights, options);
    const { cache } = model;
    if (lanes === 2) await Model.twin(model, weights);
    cacheBytes = cache.slots * cacheTokenBytes(cache.config) * cache.layers.length;
    activationBytes = Math.max(activationBytes, working.counters.allocatedBytes - cacheBytes);
  }
  return { weightBytes: device.counters.allocatedBytes, cacheBytes, activationBytes };
}
