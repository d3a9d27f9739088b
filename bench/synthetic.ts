/**
 * The weights of synthetic models, for benches that run them by themselves.
 *
 * @module
 */
import { Checkpoint } from "../core/model/checkpoint.ts";
import { parseModelConfig } from "../core/model/config.ts";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { SyntheticFiles } from "../core/model/synthetic/synthetic_files.ts";
import type { Device } from "../kernels/device/device.ts";
import { type LoadOptions, loadWeights } from "../workers/load/loader.ts";
import type { ModelWeights } from "../workers/forward/weights.ts";

/** Random weights for a config.json. @param shard what a rank keeps; everything by default @throws {LatentmeshError} `out_of_memory` */
export async function syntheticWeights(
  device: Device,
  config: string,
  weights: WeightPolicy,
  shard?: LoadOptions["shard"],
): Promise<ModelWeights> {
  const files = new SyntheticFiles("synthetic", { config, seed: 1 });
  return await loadWeights(device, await Checkpoint.open(files), parseModelConfig(config, files.name), { weights, shard });
}
