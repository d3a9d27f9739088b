/**
 * What every block of the forward pass shares.
 *
 * @module
 */
import type { Range } from "../../core/model/matrix_source.ts";
import type { IndexerSpec, ModelSpec } from "../../core/model/spec.ts";
import type { GroupPlace } from "../../core/tpla/group_place.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import type { LatentDecodeConfig } from "../../kernels/latent_decode/latent_decode.ts";
import type { CacheConfig } from "../../kernels/latent_cache/layout.ts";
import type { Division } from "../../kernels/latent_decode/matrix_units.ts";
import type { QueriesConfig } from "../../kernels/latent_decode/queries.ts";
import type { Activations, StepLimits } from "./activations.ts";
import type { KeptHidden } from "./kept_hidden.ts";
import type { CachedSequence, LatentCache } from "./latent_cache.ts";
import type { Phase } from "./linear_binding.ts";
import type { SparsePrefillWay } from "./sparse_way.ts";
import type { StepClock } from "./step_clock.ts";
import type { LatentShape } from "./weights.ts";

/** One token of a step. Its cache block must be held already. */
export interface StepRow {
  readonly token: number;
  readonly position: number;
  readonly sequence: CachedSequence;
}

/**
 * Tokens that go through the model together. In prefill they are consecutive tokens of one sequence; in decode any tokens, of which those of one
 * sequence are in order.
 */
export interface Step {
  readonly phase: Phase;
  readonly rows: readonly StepRow[];
}

/** Something that is done for every row of a step. */
export interface StepPart {
  /** Records it. */
  record(step: Step): void;
}

/** How decode attends to the latents of a layer. */
export interface DecodeAttention {
  readonly config: LatentDecodeConfig;
  /** Not null if it runs on matrix units. */
  readonly division: Division | null;
  /** What chooses the tokens that a row attends to; null: it attends to all that are kept here. */
  readonly indexer: IndexerSpec | null;
}

/** Latents of one layer. Layers whose latents are cut alike have the same objects but for their pages. */
export interface CachedLayer {
  /** The cache's buffer. */
  readonly pages: DeviceBuffer;
  /** How tokens lie there. */
  readonly cache: CacheConfig;
  readonly decode: DecodeAttention;
  /** How absorbed queries lie. */
  readonly queries: QueriesConfig;
}

/** Shared parts of a model on one device. */
export interface ModelContext {
  readonly device: Device;
  /** Of all steps, those of a twin among them. */
  readonly clock: StepClock;
  readonly group: GroupPlace;
  /** The model as this rank computes it. */
  readonly spec: ModelSpec;
  readonly latents: LatentShape;
  /** Ranks, this one among them, that share latents by tokens; null: this one has the latents of all. */
  readonly sharing: Range | null;
  readonly limits: StepLimits;
  readonly activations: Activations;
  readonly cache: LatentCache;
  /** How each layer that is computed caches latents and attends to them. */
  readonly cached: readonly CachedLayer[];
  /** Null where nothing is drafted from them. */
  readonly kept: KeptHidden | null;
  /** Whether f16 products are precise enough, and the device has units for them: latents that are cached in f32 ask for more. */
  readonly matrixUnits: boolean;
  /** Whether prefill attends to keys and values in f16, on matrix units. */
  readonly halves: boolean;
  /** How rows of prefill that see many tokens attend to those alone that were chosen; null: all rows attend to expanded keys and values. */
  readonly sparseWay: SparsePrefillWay | null;
  /** Whether decode's linear layers are computed on them, too. */
  readonly decodesOnUnits: boolean;
  /** [maxContext, d_r / 2, 2] */
  readonly ropeTable: DeviceBuffer;
  /** [maxContext]: what queries are multiplied by; null where they are left as they are. */
  readonly queryFactors: DeviceBuffer | null;
  /** Most rows of each phase, for layers that run in both. */
  readonly both: Readonly<Record<Phase, number>>;
  /** Numbers of rows from which some layer of a decode step has another kernel. */
  readonly kernelChanges: Set<number>;
}
