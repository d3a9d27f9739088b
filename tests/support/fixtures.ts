/**
 * Goldens of the checkpoints that travel with the project, and their models on a device.
 *
 * @module
 */
import { ROOT } from "../../bench/support/root.ts";
import { type Fixture, fixtureDirectory } from "./checkpoints.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { isMoeLayer, type ModelSpec } from "../../core/model/spec.ts";
import { tensorName } from "../../core/model/tensor_names.ts";
import { readSafetensorsHeader } from "../../core/model/safetensors.ts";
import { ALONE } from "../../core/tpla/group_place.ts";
import type { Device } from "../../kernels/device/device.ts";
import type { CacheDtype, IndexDtype } from "../../core/cache/cache_dtype.ts";
import type { StepLimits } from "../../workers/forward/activations.ts";
import { loadWeights } from "../../workers/load/loader.ts";
import type { LoadShard } from "../../workers/load/attention_plan.ts";
import { createMixedModels, type MixedModels } from "../../workers/forward/mixed_models.ts";
import { Model, type ModelOptions } from "../../workers/forward/model.ts";
import type { ModelWeights } from "../../workers/forward/weights.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";

/** Golden outputs of a fixture. */
export interface Golden {
  /** [sequences][tokens] */
  readonly inputs: number[][];
  /** [sequences, tokens, vocabulary] */
  readonly logits: Float32Array;
  /** 24 prompt tokens and 40 generated ones; null where there are none. */
  readonly generated: number[] | null;
}

/** Reads `golden.safetensors`, or another file of goldens. */
export async function readGolden(name: Fixture, file = "golden.safetensors"): Promise<Golden> {
  using files = new DirectoryFiles(`${ROOT}/tests/golden/${name}`);
  const source = (await files.open(file))!;
  const { tensors } = await readSafetensorsHeader(source);
  const read = async (tensor: string) => {
    const info = tensors.get(tensor);
    return info === undefined ? null : { shape: info.shape, buffer: (await source.read(info.offset, info.bytes)).buffer };
  };
  const ids = (await read("input_ids"))!;
  const generated = await read("generated");
  const flat = new Int32Array(ids.buffer);
  const [sequences, tokens] = ids.shape;
  return {
    inputs: Array.from({ length: sequences }, (_, s) => [...flat.subarray(s * tokens, (s + 1) * tokens)]),
    logits: new Float32Array((await read("logits"))!.buffer),
    generated: generated === null ? null : [...new Int32Array(generated.buffer)],
  };
}

/** Small limits that make chunks, windows and logit slices cross each other. */
export const TEST_LIMITS: StepLimits = { prefillRows: 256, decodeRows: 8, window: 128, logitRows: 32 };

/** Options of {@link loadModel}. */
export interface LoadModelOptions {
  readonly cacheDtype?: CacheDtype;
  readonly indexDtype?: IndexDtype;
  readonly weights?: WeightPolicy;
  readonly limits?: Partial<StepLimits>;
  readonly directory?: string;
  readonly maxTokens?: number;
  readonly maxContext?: number;
  readonly ranks?: number;
  /** The latents' basis and this rank's share; as they are stored, and all of them, by default. */
  readonly shard?: LoadShard;
  /** Whether the layer that drafts is loaded. */
  readonly mtp?: boolean;
}

/** Loads a checkpoint onto a device. */
export async function loadModel(device: Device, name: Fixture, options: LoadModelOptions = {}): Promise<Model> {
  const { weights, sizes } = await loadSized(device, name, options);
  return await Model.create(device, weights, sizes);
}

/** The same, and what drafts behind it. */
export async function loadDraftingModel(device: Device, directory: string, options: LoadModelOptions = {}): Promise<{ model: Model; draft: Model }> {
  const { weights, sizes } = await loadSized(device, "deepseek-v3-tiny", { ...options, directory, mtp: true });
  const model = await Model.create(device, weights, sizes);
  return { model, draft: await Model.draftHead(model, weights) };
}

/** The same, for a mixed rank. */
export async function loadMixedModels(device: Device, name: Fixture, options: LoadModelOptions = {}): Promise<MixedModels> {
  const { weights, sizes } = await loadSized(device, name, options);
  return await createMixedModels(device, weights, sizes);
}

async function loadSized(device: Device, name: Fixture, options: LoadModelOptions): Promise<{ weights: ModelWeights; sizes: ModelOptions }> {
  using files = new DirectoryFiles(options.directory ?? fixtureDirectory(name));
  const spec = { ...parseModelConfig((await files.text("config.json"))!, `${name}/config.json`), mtp: options.mtp ?? false };
  const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: options.weights ?? "keep", shard: options.shard });
  return {
    weights,
    sizes: {
      group: { ...ALONE, ranks: options.ranks ?? 1 },
      cacheDtype: options.cacheDtype ?? "f32",
      indexDtype: options.indexDtype,
      maxTokens: options.maxTokens ?? 1024,
      maxContext: options.maxContext ?? Math.min(512, spec.maxPositions),
      maxSequences: 4,
      limits: { ...TEST_LIMITS, ...options.limits },
    },
  };
}

/** Correction bias of every MoE layer; zeros where the model has none. */
export async function readCorrectionBiases(name: Fixture, spec: ModelSpec): Promise<Float32Array[]> {
  using files = new DirectoryFiles(fixtureDirectory(name));
  const checkpoint = await Checkpoint.open(files);
  const { moe } = spec;
  const choices = moe === null ? 0 : moe.experts + moe.identityExperts;
  const layers = Array.from({ length: spec.layers }, (_, layer) => layer).filter((layer) => isMoeLayer(spec, layer));
  return await Promise.all(
    layers.map((layer) =>
      moe!.correctionBias ? readVector(checkpoint, tensorName(spec.tensorNames, "correctionBias", { layer }), choices) : new Float32Array(choices)
    ),
  );
}
