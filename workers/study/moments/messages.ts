/**
 * What is said to a thread that sums moments, and what it answers.
 *
 * @module
 */
import type { AttentionSizes, AttentionWeights, LayerResult } from "./layer_moments.ts";

/** To the thread; each is answered by a {@link FromMoments}, in order. */
export type ToMoments =
  | {
    readonly kind: "add";
    readonly layer: number;
    readonly kv: Float32Array;
    readonly q: Float32Array;
    readonly rows: number;
    readonly sizes: AttentionSizes;
  }
  | { readonly kind: "finish"; readonly layer: number; readonly weights: AttentionWeights };

/** From the thread: nothing, or a layer's result, or why there is none. */
export type FromMoments = { readonly result: LayerResult | null; readonly error: string | null };
