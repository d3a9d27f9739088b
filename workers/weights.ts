/**
 * The weights of a model on one device.
 *
 * @module
 */
import type { MatrixLayout } from "../core/model/packing.ts";
import type { DeviceBuffer } from "../kernels/device.ts";

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
}

/** One attention block. */
export interface AttentionWeights {
  /** W_DQ and its norm; null where queries are projected directly. */
  readonly queryDown: { readonly matrix: DeviceMatrix; readonly norm: DeviceBuffer } | null;
  /** W_UQ, or W_Q. */
  readonly queryUp: DeviceMatrix;
  /** W_DKV with the rotated key's rows last. */
  readonly kvDown: DeviceMatrix;
  /** What latents are multiplied by before they are cached; on a single worker the norm's gain. */
  readonly basis: DeviceBuffer;
  /** W_UK: one [d_n, d_c] matrix per head. */
  readonly keyUp: DeviceMatrix;
  /** W_UV: one [d_v, d_c] matrix per head. */
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
}

/** Everything. */
export interface ModelWeights {
  readonly embedding: DeviceMatrix;
  readonly layers: readonly LayerWeights[];
  readonly finalNorm: DeviceBuffer;
  readonly head: DeviceMatrix;
  /** Bytes uploaded. */
  readonly bytes: number;
}

/** Distinguishes the two kinds of feed-forward layers. */
export function isMoe(weights: FeedForwardWeights | MoeWeights): weights is MoeWeights {
  return "router" in weights;
}
