/**
 * From an assignment to a loaded rank.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { modelHash, sha256 } from "../../core/model/model_hash.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import { basesFor } from "../../core/tpla/choose_bases.ts";
import { groupPlace } from "../../core/tpla/group_place.ts";
import { partition, promptShapes, type RankShape } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken } from "../../core/tpla/plan.ts";
import type { LoadProgress } from "../../core/wire/load_times.ts";
import type { Assignment } from "../../core/wire/messages.ts";
import type { Device } from "../../kernels/device/device.ts";
import { DecodeRank } from "../roles/decode.ts";
import { DraftHead } from "../roles/draft_head.ts";
import type { LoadClock } from "../load/load_clock.ts";
import { loadBeside, planWeights } from "../load/loader.ts";
import { MixedRank } from "../roles/mixed.ts";
import { createMixedModels } from "../forward/mixed_models.ts";
import type { LatentCache } from "../forward/latent_cache.ts";
import { Model } from "../forward/model.ts";
import { openModelFiles } from "../load/model_files.ts";
import { PrefillRank } from "../roles/prefill.ts";

/** A rank with its model on the device. */
export interface LoadedRank {
  readonly assignment: Assignment;
  /** What it generates with, or computes prompts with, where it does one of them. */
  readonly model: Model;
  /** Of this rank, all of them: a mixed one may have one for prompts beside the one it generates from. */
  readonly caches: readonly LatentCache[];
  readonly role: PrefillRank | DecodeRank | MixedRank;
  /** What the ranks of decode groups hold. */
  readonly decodeShapes: readonly RankShape[];
  readonly weightBytes: number;
  readonly cacheBytesPerToken: number;
}

/** Where the files are. */
export interface ModelPaths {
  /** Model directory. */
  readonly model: string;
  /** `basis.safetensors`, if it is not in the model's directory. */
  readonly basis?: string;
}

/** What happens while a rank is loaded. */
export interface LoadingListener {
  /** Told where the time goes. */
  readonly clock: LoadClock;
  readonly onProgress: (progress: LoadProgress) => void;
}

/** Loads a rank: reads only what it keeps, and compiles its kernels meanwhile. @throws {LatentmeshError} */
export async function loadRank(
  device: Device,
  paths: ModelPaths,
  assignment: Assignment,
  { clock, onProgress }: LoadingListener,
): Promise<LoadedRank> {
  const { cut, decode, basis, rank, role, weights: policy, paper, mu, cacheDtype, indexDtype } = assignment;
  const promptCache = assignment.promptCache ?? null;
  using files = openModelFiles(paths.model);
  const spec = { ...parseModelConfig(await readConfigText(files), `${files.name}/config.json`), mtp: assignment.mtp };
  const shape = partition(spec, cut, decode)[rank];
  const decodeShapes = partition(spec, decode);
  const [bases, checkpoint] = await clock.time("files", async () => [
    basis === null ? null : await basesFor(spec, basis, await openBasis(files, paths.basis)),
    await Checkpoint.open(files),
  ]);
  // Prompts are computed exactly, and where a mixed rank generates from where they are, so is what it generates: nothing is scaled or cut.
  const slices = role === "decode" || promptCache !== null;
  const shard = { shape, bases, keyScale: slices ? mu : 1, slicedNorm: slices && paper };
  const beside = promptCache === null ? undefined : { shape: promptShapes(spec, cut)[rank], bases };
  const planned = planWeights(device, checkpoint, spec, { weights: policy, shard, beside });
  const { weights } = planned;
  const options = { ...assignment, group: groupPlace(assignment) };
  const create = async () => {
    if (role === "mixed") {
      return await createMixedModels(device, weights, options, promptCache === null ? null : { weights: planned.beside!, cache: promptCache });
    }
    const model = await Model.create(device, weights, options);
    return { prefill: model, decode: model };
  };
  const drafts = spec.mtp && role !== "prefill";
  const createAll = async () => {
    const models = await create();
    return { ...models, draft: drafts ? await Model.draftHead(models.decode, weights) : null };
  };
  const models = await loadBeside(planned, createAll, { clock, onProgress });
  if (!isHost(device.kind)) {
    await clock.time("warmUp", async () => {
      for (const phase of role === "mixed" ? ["prefill", "decode"] as const : [role]) await models[phase].warmUp(phase);
      await models.draft?.warmUp("decode");
    });
  }
  const { decode: model } = models;
  const draft = models.draft === null ? null : new DraftHead(models.draft);
  const createRole = {
    prefill: () => PrefillRank.create(model, decodeShapes.filter((_, i) => i % cut.ranks === rank)),
    decode: async () => await DecodeRank.create(assignment.lanes === 1 ? [model] : [model, await Model.twin(model, weights)], { draft }),
    mixed: () => MixedRank.create(models, promptCache === null ? null : shape, draft),
  };
  return {
    assignment,
    model,
    caches: [...new Set([models.decode.cache, models.prefill.cache])],
    role: await createRole[role](),
    decodeShapes,
    weightBytes: weights.bytes,
    cacheBytesPerToken: cacheBytesPerToken(spec, shape, cacheDtype, indexDtype),
  };
}

/** What a coordinator compares with its own files. */
export interface FileHashes {
  readonly model: string;
  /** null where the model has no basis file. */
  readonly basis: string | null;
}

/** Hashes a worker's files. @throws {LatentmeshError} `not_found` if there is no model */
export async function hashFiles({ model, basis }: ModelPaths): Promise<FileHashes> {
  using files = openModelFiles(model);
  const config = await readConfigText(files);
  const source = await openBasis(files, basis);
  return {
    model: await modelHash(config, await Checkpoint.open(files)),
    basis: source === null ? null : await sha256(await source.read(0, source.size)),
  };
}

async function openBasis(files: ReturnType<typeof openModelFiles>, path: string | undefined) {
  return path === undefined ? await files.open("basis.safetensors") : await files.openPath(path);
}
