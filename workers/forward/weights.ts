/**
 * The weights of a model on one device.
 *
 * @module
 */
import type { TokenShare } from "../../core/cache/token_share.ts";
import type { MatrixLayout } from "../../core/model/packing.ts";
import type { LatentColumns } from "../../core/tpla/latent_columns.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { DeviceBuffer } from "../../kernels/device/device.ts";

/** Consecutive rows (of a single matrix) or matrices (of a stack) that share one binding. */
export interface MatrixPart {
  readonly first: number;
  readonly count: number;
  readonly weights: DeviceBuffer;
  readonly scales: DeviceBuffer;
}

/** A matrix, or a stack of equal ones, split into parts no larger than a binding. */
export interface DeviceMatrix {
  readonly layout: MatrixLayout;
  /** Rows of one matrix. */
  readonly outputs: number;
  /** Matrices in the stack; a single matrix is split by rows, a stack by matrices. */
  readonly matrices: number;
  readonly parts: readonly MatrixPart[];
}

/** gate·up ([2 · width, D], gate first) and down ([D, width]) of a feed-forward layer or a stack of experts. */
export interface FeedForwardWeights {
  readonly gateUp: DeviceMatrix;
  readonly down: DeviceMatrix;
}

/** Routed experts with their router. */
export interface MoeWeights {
  readonly router: DeviceMatrix;
  /** [experts]; zeros where the model has none. */
  readonly correctionBias: DeviceBuffer;
  readonly experts: FeedForwardWeights;
  readonly shared: FeedForwardWeights | null;
  /** What the output of all of them is normalised with, see `MoeSpec`; null: it is not. */
  readonly outputNorm: DeviceBuffer | null;
}

/** What chooses the tokens that queries attend to, whole on every rank; see `IndexerSpec`. */
export interface IndexerWeights {
  /** [heads · width, query rank] */
  readonly queryUp: DeviceMatrix;
  /** [width, D] */
  readonly key: DeviceMatrix;
  /** Of the norm of keys, [width] each. */
  readonly keyGain: DeviceBuffer;
  readonly keyBias: DeviceBuffer;
  /** [heads, D]: what scores are multiplied by before they are summed. */
  readonly headWeights: DeviceMatrix;
}

/** One attention block. */
export interface AttentionWeights {
  /** W_DQ and its norm; null where queries are projected directly. */
  readonly queryDown: { readonly matrix: DeviceMatrix; readonly norm: DeviceBuffer } | null;
  /** W_UQ, or W_Q. */
  readonly queryUp: DeviceMatrix;
  /** W_DKV with the rotated key's rows last. */
  readonly kvDown: DeviceMatrix;
  /** Null where it chooses no tokens. */
  readonly indexer: IndexerWeights | null;
  /** What latents are multiplied by before they are cached: the norm's gain where there is no change of basis, else the kept rows of Aᵀ. */
  readonly basis: DeviceBuffer;
  /** d_c times the share of the latent's variance that this rank's columns have, where norms are taken over them alone; null: norms are exact. */
  readonly slicedNorm: number | null;
  /** W_UK under the basis: one [d_n, |K_i|] matrix per head. */
  readonly keyUp: DeviceMatrix;
  /** W_UV under the basis: one [d_v, |S_i|] matrix per head. */
  readonly valueUp: DeviceMatrix;
  /** W_O */
  readonly output: DeviceMatrix;
}

/** One layer. */
export interface LayerWeights {
  readonly attentionNorm: DeviceBuffer;
  readonly attention: AttentionWeights;
  readonly feedForwardNorm: DeviceBuffer;
  readonly feedForward: FeedForwardWeights | MoeWeights;
  /** Experts beside it, see `shortcut` of `MoeSpec`; null: there are none. */
  readonly shortcut: MoeWeights | null;
}

/** A multi-token-prediction layer; see `core/model/mtp.ts`. */
export interface MtpWeights {
  readonly layer: LayerWeights;
  readonly embeddingNorm: DeviceBuffer;
  readonly hiddenNorm: DeviceBuffer;
  /** [D, 2 D], whole on every rank: it takes no sum. */
  readonly projection: DeviceMatrix;
  readonly finalNorm: DeviceBuffer;
}

/** How a rank caches latents; see core/tpla. */
export interface LatentShape {
  /** Columns that are cached and that are values, by layer whose latents are cached. */
  readonly layers: readonly LatentColumns[];
  /** Tokens of every sequence whose latents are here. */
  readonly tokens: TokenShare;
  /** Whether {@link AttentionWeights.basis} is one factor per column or rows of Aᵀ. */
  readonly basis: "diagonal" | "dense";
}

/** Everything. */
export interface ModelWeights {
  /** The model as this rank computes it. */
  readonly spec: ModelSpec;
  readonly latents: LatentShape;
  /** Id of the first token whose row of the vocabulary projection is here. */
  readonly firstToken: number;
  readonly embedding: DeviceMatrix;
  readonly layers: readonly LayerWeights[];
  /** Null where nothing is drafted with it. */
  readonly mtp: MtpWeights | null;
  readonly finalNorm: DeviceBuffer;
  readonly head: DeviceMatrix;
  /** Bytes uploaded. */
  readonly bytes: number;
}

/** Distinguishes the two kinds of feed-forward layers. */
export function isMoe(weights: FeedForwardWeights | MoeWeights): weights is MoeWeights {
  return "router" in weights;
}
