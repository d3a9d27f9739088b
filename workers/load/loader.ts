/**
 * From a checkpoint to a device. A rank's tensors are planned first (`rank_weights.ts`, `upload_plan.ts`), then read by byte range and uploaded a block at a time
 * (`upload.ts`), so host memory never holds the model.
 *
 * @module
 */
import type { LoadProgress } from "../../core/wire/load_times.ts";
import type { Checkpoint } from "../../core/model/checkpoint.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import { together } from "../../core/together.ts";
import type { Device } from "../../kernels/device/device.ts";
import { LoadClock } from "./load_clock.ts";
import { RankWeights, type RankWeightsOptions } from "./rank_weights.ts";
import type { UploadSizes } from "./upload.ts";
import type { ModelWeights } from "../forward/weights.ts";

/** Options of {@link loadWeights}. */
export interface LoadOptions extends RankWeightsOptions {
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Only allocate: nothing of a tensor is read, and bases are not looked at. */
  readonly dry?: boolean;
}

/** Weights whose memory is there. */
export interface PlannedWeights {
  /** What kernels can be bound to. */
  readonly weights: ModelWeights;
  /** The same with attention cut another way, see {@link RankWeightsOptions.beside}; null where that was not asked for. */
  readonly beside: ModelWeights | null;
  /** Reads what belongs there. @throws {LatentmeshError} `invalid_checkpoint` if a file has changed or holds what it must not */
  load(options?: LoadingOptions): Promise<void>;
}

/** How weights are loaded, and who is told. */
export interface LoadingOptions {
  /** Told where the time goes. */
  readonly clock?: LoadClock;
  readonly sizes?: UploadSizes;
  readonly onProgress?: LoadOptions["onProgress"];
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

/**
 * Loads all weights of a model onto a device.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if a tensor is missing or does not fit config.json, `out_of_memory` if the device cannot hold it
 */
export async function loadWeights(device: Device, checkpoint: Checkpoint, spec: ModelSpec, options: LoadOptions): Promise<ModelWeights> {
  const { weights, load } = planWeights(device, checkpoint, spec, options);
  if (!options.dry) await load({ onProgress: options.onProgress });
  return weights;
}

/**
 * Loads weights, and makes a model of them meanwhile: kernels can be compiled and bound to memory that is not filled yet.
 *
 * @throws {LatentmeshError} what making it throws, as soon as what is being read has been, or what loading throws
 */
export async function loadBeside<M>(
  { load }: PlannedWeights,
  make: () => Promise<M>,
  options: LoadingOptions & { readonly clock: LoadClock },
): Promise<M> {
  const failed = new AbortController();
  const making = options.clock.time("compile", make);
  making.catch(() => failed.abort());
  const [model] = await together([making, load({ ...options, signal: failed.signal })]);
  return model;
}

/**
 * Allocates all weights of a model, of which nothing but sizes is read yet.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if a tensor is missing or does not fit config.json, `out_of_memory` if the device cannot hold it
 */
export function planWeights(device: Device, checkpoint: Checkpoint, spec: ModelSpec, options: RankWeightsOptions): PlannedWeights {
  const rank = new RankWeights(device, checkpoint, spec, options);
  const [weights, beside = null] = rank.plan();
  const totalBytes = rank.storedBytes;
  return {
    weights,
    beside,
    load: ({ clock = new LoadClock(), sizes, signal, onProgress } = {}) => {
      const onStored = (loadedBytes: number) => onProgress?.({ loadedBytes, totalBytes });
      return clock.time("weights", () => rank.load({ clock, sizes, signal, onStored }));
    },
  };
}
