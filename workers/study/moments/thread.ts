/**
 * A thread that sums the moments of some layers.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { messageOf } from "../../../core/errors.ts";
import { type AttentionSizes, type AttentionWeights, LayerMoments, type LayerResult } from "./layer_moments.ts";

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

const scope = self as DedicatedWorkerGlobalScope;
const layers = new Map<number, LayerMoments>();

scope.onmessage = ({ data: message }: MessageEvent<ToMoments>) => {
  let answer: FromMoments;
  try {
    answer = { result: work(message), error: null };
  } catch (error) {
    answer = { result: null, error: messageOf(error) };
  }
  scope.postMessage(answer);
};

function work(message: ToMoments): LayerResult | null {
  if (message.kind === "finish") {
    const result = layers.get(message.layer)!.finish(message.weights);
    layers.delete(message.layer);
    return result;
  }
  const { layer, kv, q, rows, sizes } = message;
  const moments = layers.get(layer) ?? new LayerMoments(sizes);
  layers.set(layer, moments);
  moments.add(kv, q, rows);
  return null;
}
