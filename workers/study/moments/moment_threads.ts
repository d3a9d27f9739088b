/**
 * Moments of all layers, summed beside each other: for a model of V2-Lite's size that takes minutes of a processor, of which there are several.
 *
 * @module
 */
import { LatentmeshError } from "../../../core/errors.ts";
import type { AttentionSizes, AttentionWeights, LayerResult } from "./layer_moments.ts";
import type { FromMoments, ToMoments } from "./messages.ts";

interface Thread {
  readonly worker: Worker;
  /** Who waits for its answers, in order. */
  readonly waiting: PromiseWithResolvers<LayerResult | null>[];
  /** Why it answers no more; null: it does. */
  failed: LatentmeshError | null;
}

/** As many threads as there are processors, or layers. */
export class MomentThreads implements Disposable {
  readonly #sizes: AttentionSizes;
  readonly #threads: readonly Thread[];

  constructor(sizes: AttentionSizes, layers: number) {
    this.#sizes = sizes;
    this.#threads = Array.from({ length: Math.min(layers, navigator.hardwareConcurrency) }, begin);
  }

  /** Layers that are worked on at a time. */
  get count(): number {
    return this.#threads.length;
  }

  /** Takes in what a layer has computed of some tokens, which is taken away; resolves when it is summed. */
  async add(
    layer: number,
    { kv, q, rows }: { readonly kv: Float32Array<ArrayBuffer>; readonly q: Float32Array<ArrayBuffer>; readonly rows: number },
  ): Promise<void> {
    await this.#ask(layer, { kind: "add", layer, kv, q, rows, sizes: this.#sizes }, [kv.buffer, q.buffer]);
  }

  /** What a layer comes to. @param weights which are taken away */
  async finish(layer: number, weights: AttentionWeights): Promise<LayerResult> {
    return (await this.#ask(layer, { kind: "finish", layer, weights }, [weights.gain.buffer, weights.up.buffer, weights.output.buffer]))!;
  }

  [Symbol.dispose](): void {
    for (const thread of this.#threads) {
      thread.worker.terminate();
      fail(thread, new LatentmeshError("cancelled", "The calibration was given up"));
    }
  }

  #ask(layer: number, message: ToMoments, transfer: ArrayBuffer[]): Promise<LayerResult | null> {
    const { worker, waiting, failed } = this.#threads[layer % this.#threads.length];
    if (failed !== null) return Promise.reject(failed);
    const answer = Promise.withResolvers<LayerResult | null>();
    // Whoever asks may give up before it comes.
    answer.promise.catch(() => {});
    waiting.push(answer);
    worker.postMessage(message, transfer);
    return answer.promise;
  }
}

function begin(): Thread {
  const worker = new Worker(new URL("./thread.ts", import.meta.url), { type: "module", name: "moments" });
  const thread: Thread = { worker, waiting: [], failed: null };
  worker.onmessage = ({ data: { result, error } }: MessageEvent<FromMoments>) => {
    const one = thread.waiting.shift();
    if (error === null) one?.resolve(result);
    else one?.reject(new LatentmeshError("internal", `Cannot calibrate: ${error}`));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(thread, new LatentmeshError("internal", `A thread that calibrates has failed: ${event.message}`));
  };
  return thread;
}

/** Who waits, and who asks from now on, is told why there is no answer. */
function fail(thread: Thread, error: LatentmeshError): void {
  thread.failed ??= error;
  for (const one of thread.waiting.splice(0)) one.reject(error);
}
