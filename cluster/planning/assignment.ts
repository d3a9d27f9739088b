/**
 * What each worker is to be: the cluster's settings and the model's shape, for one place.
 *
 * @module
 */
import { type CacheDtype, type IndexDtype, indexDtypeFor, refuseWithoutIndexKeys } from "../../core/cache/cache_dtype.ts";
import { cacheDtypeOf, isHost } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { choosePrefillSizes, type PrefillDevice, UNUSED_WINDOW } from "../../core/model/prefill_sizes.ts";
import type { ModelDescription, ModelPackage } from "../../core/model_package.ts";
import { partition, type PartitionOptions, promptShapes, UNCUT } from "../../core/tpla/partition.ts";
import { needsCalibration, resolveBasis, resolveCut } from "../../core/tpla/scheme.ts";
import type { Assignment, Hello } from "../../core/wire/messages.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import type { PrivateDirectory } from "../processes/private_directory.ts";
import { generatesFromSlices } from "../config/mixed_units.ts";
import type { Settings } from "../config/settings.ts";
import type { Slot, UnitPlan } from "./topology.ts";

/** Sizes that every worker must agree on. */
export interface CachePlan {
  readonly dtype: CacheDtype;
  /** Of index keys. */
  readonly indexDtype: IndexDtype;
  /** Tokens that a decode group or mixed unit holds. */
  readonly maxTokens: number;
  /** Tokens whose whole latents a prefill unit holds, or a mixed unit that generates from slices. */
  readonly prefillTokens: number;
  readonly maxContext: number;
  /** Prompt tokens computed at a time. */
  readonly chunk: number;
  /** Positions whose keys and values prefill expands at a time. */
  readonly window: number;
  /** Windows of a prompt whose keys and values stay until it is computed. */
  readonly keptWindows: number;
}

/** The model that a cluster serves, or would serve. */
export class ClusterModel<Read extends ModelDescription = ModelPackage> {
  readonly package: Read;
  readonly directory: string;
  /** Where the calibration is; null if the scheme needs none. */
  readonly basisFile: string | null;
  /** What workers' files must be. */
  readonly hashes: { readonly model: string; readonly basis: string | null };
  readonly #temporary: PrivateDirectory | null;
  /** Set once all workers have said which devices they have. */
  #cache: CachePlan | null = null;

  constructor(
    model: Read,
    files: { readonly directory: string; readonly basisFile: string | null; readonly temporary?: PrivateDirectory | null },
    hashes: { readonly model: string; readonly basis: string | null },
  ) {
    this.package = model;
    this.directory = files.directory;
    this.basisFile = files.basisFile;
    this.hashes = hashes;
    this.#temporary = files.temporary ?? null;
  }

  /** Removes what was written for this run alone. */
  async close(): Promise<void> {
    await this.#temporary?.close();
  }

  get cacheDecided(): boolean {
    return this.#cache !== null;
  }

  /** The sizes, decided the first time they are asked for. */
  cache(decide: () => CachePlan): CachePlan {
    return this.#cache ??= decide();
  }

  /** Refuses a worker whose files are not these. @throws {LatentmeshError} */
  checkWorker(worker: string, hello: Hello): void {
    const refuse = (problem: string): never => {
      throw new LatentmeshError("unauthorized", `Worker ${worker}: ${problem}`);
    };
    const { model, basis } = this.hashes;
    if (hello.modelHash !== model) refuse(`other model (${hello.modelHash.slice(0, 12)}, here ${model.slice(0, 12)})`);
    if (basis !== null && hello.basisHash !== basis) {
      refuse(`other basis.safetensors (${hello.basisHash?.slice(0, 12) ?? "none"}, here ${basis.slice(0, 12)}); copy it`);
    }
  }
}

type CutSettings = Pick<Settings, "decode" | "prefill" | "mixed">;

/**
 * How the units of a cluster cut the model; `promptShapes` are those in which mixed units compute prompts that generate from slices; there are none
 * where no units do so. Until it is decided, ranks share feed-forward blocks if they can.
 *
 * @throws {LatentmeshError} `invalid_config`
 */
export function resolveCuts(settings: CutSettings, model: ModelDescription) {
  const { feedForward, scheme } = settings.decode;
  const decided = scheme.feedForward ?? (feedForward === "auto" ? null : feedForward);
  return cutsWith(decided ?? (mustReplicate(settings, model) ? "replicated" : "sharded"), settings, model);
}

/** Whether ranks could not share feed-forward blocks, and can each have them whole: they are more than the heads, or a block's width. */
export function mustReplicate(settings: CutSettings, model: ModelDescription): boolean {
  const can = (feedForward: "sharded" | "replicated") => {
    try {
      cutsWith(feedForward, settings, model);
      return true;
    } catch (error) {
      if (error instanceof LatentmeshError) return false;
      throw error;
    }
  };
  return !can("sharded") && can("replicated");
}

function cutsWith(feedForward: "sharded" | "replicated", settings: CutSettings, { spec, chosenWidths }: ModelDescription) {
  const { decode, prefill } = settings;
  const decodeCut = resolveCut(spec, { ...decode.scheme, feedForward }, chosenWidths);
  const cuts: Record<UnitRole, PartitionOptions> = {
    decode: decodeCut,
    mixed: decodeCut,
    prefill: { ...UNCUT, ranks: prefill.ranks },
  };
  const shape = partition(spec, decodeCut);
  const shapes = { decode: shape, mixed: shape, prefill: partition(spec, cuts.prefill, decodeCut) };
  return { ...cuts, shapes, promptShapes: generatesFromSlices(settings) ? promptShapes(spec, decodeCut) : [] };
}

/** Whether a scheme needs `basis.safetensors`. */
export function schemeNeedsCalibration({ decode }: Pick<Settings, "decode">): boolean {
  const basis = resolveBasis(decode.scheme);
  return basis !== null && needsCalibration(basis.kind);
}

/** A worker in its place. */
export interface PlacedWorker {
  readonly hello: Pick<Hello, "device">;
  readonly slot: Pick<Slot, "name">;
}

/**
 * Sizes, from settings and from the devices that workers have.
 *
 * @param freeBytes what each prefill worker may count on, see `prefill_device.ts`
 * @throws {LatentmeshError} `invalid_config` if devices of a unit differ
 */
export function resolveCache(settings: Settings, model: ClusterModel, members: readonly PlacedWorker[], freeBytes: number | null): CachePlan {
  const decided = model.cache(() => planCache(settings, model.package, leastOf(members, freeBytes)));
  refuseMixedDevices(members);
  return decided;
}

/** What all workers have at least; a CPU only if all are. */
function leastOf(members: readonly PlacedWorker[], freeBytes: number | null): PrefillDevice {
  const devices = members.map(({ hello: { device } }) => device);
  const gpus = devices.filter(({ kind }) => !isHost(kind));
  const kind = gpus[0]?.kind ?? "cpu";
  return { kind, freeBytes, maxBindingBytes: Math.min(...(gpus.length > 0 ? gpus : devices).map(({ maxBindingBytes }) => maxBindingBytes)) };
}

/** Prompt tokens whose whole latents are kept beside slices; one context at least. */
export const PROMPT_CACHE_TOKENS = 32768;

/** Sizes for such devices. */
export function planCache(
  settings: Pick<Settings, "maxTokensTotal" | "cacheDtype" | "indexDtype" | "prefillChunk" | "prefillWindow" | "prefill" | "mixed" | "decode">,
  { spec }: ModelDescription,
  device: PrefillDevice,
): CachePlan {
  refuseWithoutIndexKeys(settings.indexDtype, spec);
  const maxTokens = settings.maxTokensTotal ?? Math.min(4 * spec.maxPositions, 32768);
  const maxContext = Math.min(spec.maxPositions, maxTokens);
  const sizes = choosePrefillSizes(spec, device, { chunk: settings.prefillChunk, window: settings.prefillWindow }, maxContext);
  // Whole latents beside slices are what slices are there to save: no more than prompts that are computed and those that come again need.
  const standard = generatesFromSlices(settings) ? Math.min(maxTokens, PROMPT_CACHE_TOKENS) : maxTokens;
  const prefillTokens = Math.max(maxContext, settings.prefill.cacheTokens ?? standard);
  const dtype = settings.cacheDtype ?? cacheDtypeOf(device.kind);
  return { dtype, indexDtype: indexDtypeFor(dtype, settings.indexDtype), maxTokens, prefillTokens, maxContext, ...sizes };
}

/** Ranks that round differently route tokens to different experts, and their sums are then sums of different things. */
function refuseMixedDevices(members: readonly PlacedWorker[]): void {
  const byUnit = Map.groupBy(members, ({ slot }) => slot.name.split(".")[0]);
  for (const [unit, ranks] of byUnit) {
    const devices = new Set(ranks.map(({ hello: { device } }) => `${device.kind} (${device.description})`));
    if (devices.size > 1) {
      throw new LatentmeshError(
        "invalid_config",
        `The ranks of ${unit} have different devices: ${[...devices].join(", ")}. Give each unit devices of one kind.`,
      );
    }
  }
}

/** Prompts that a prefill unit has begun or will begin next. */
export const PROMPTS_PER_UNIT = 8;

/** What the worker in a place is to be. */
export function assignmentOf(settings: Settings, model: ClusterModel<ModelDescription>, unit: UnitPlan, slot: Slot, cache: CachePlan): Assignment {
  const { decode, weights } = settings;
  const cuts = resolveCuts(settings, model.package);
  const { dtype, indexDtype, maxContext, chunk, window, keptWindows } = cache;
  const { maxBatch } = decode;
  const prefilling = { prefillRows: chunk, window, keptWindows, logitRows: Math.min(64, chunk) };
  const byRole = {
    prefill: { maxTokens: cache.prefillTokens, maxSequences: PROMPTS_PER_UNIT, limits: { ...prefilling, decodeRows: 1 } },
    decode: {
      maxTokens: cache.maxTokens,
      maxSequences: maxBatch,
      limits: { prefillRows: 1, decodeRows: maxBatch, window: Math.min(UNUSED_WINDOW, maxContext), logitRows: maxBatch },
    },
    mixed: {
      maxTokens: cache.maxTokens,
      // Prompts that are only computed are no part of the batch.
      maxSequences: maxBatch + PROMPTS_PER_UNIT,
      promptCache: generatesFromSlices(settings) ? { maxTokens: cache.prefillTokens, maxSequences: PROMPTS_PER_UNIT } : null,
      limits: { ...prefilling, decodeRows: maxBatch, logitRows: Math.max(maxBatch, prefilling.logitRows) },
    },
  };
  return {
    role: unit.role,
    unit: unit.name,
    rank: slot.rank,
    cut: wholeCut(cuts[unit.role]),
    decode: wholeCut(cuts.decode),
    basis: resolveBasis(decode.scheme),
    paper: decode.scheme.paper,
    mu: decode.scheme.mu,
    mtp: model.package.spec.mtp,
    weights,
    cacheDtype: dtype,
    indexDtype,
    maxContext,
    ...byRole[unit.role],
    lanes: unit.role === "decode" && decode.pingPong ? 2 : 1,
    wire: decode.wire,
    exchange: decode.exchange,
    deadlineMs: decode.deadlineMs,
  };
}

function wholeCut({ widths, ...cut }: PartitionOptions): Assignment["cut"] {
  return { feedForward: "sharded", ...cut, ...(widths === undefined ? {} : { widths: [...widths] }) };
}
