/**
 * A thread that sums the moments of some layers.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { messageOf } from "../../../core/errors.ts";
import { LayerMoments, type LayerResult } from "./layer_moments.ts";
import type { FromMoments, ToMoments } from "./messages.ts";

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
