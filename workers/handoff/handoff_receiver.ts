/**
 * The decode side of the handoff: latents go from shared memory, or from the socket, to the device's pages; or from other pages of the same device.
 *
 * Copies: shared memory → device (upload); or socket → message, message → device; or device → device.
 *
 * @module
 */
import { keptTokens } from "../../core/cache/token_share.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { PeerFrameOf } from "../../core/wire/messages.ts";
import { checkTensor } from "../../core/wire/tensors.ts";
import { sentWidth } from "../../kernels/latent_cache/layout.ts";
import { importLatents } from "./latent_importer.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { Model } from "../forward/model.ts";

/** Bytes that may wait to be taken to the device. */
const MOST_WRITTEN = 32 << 20;

/** A prompt that is being received, or has been. */
export class IncomingPrompt {
  readonly sequence: CachedSequence;
  readonly tokens: number;
  readonly #model: Model;
  /** Of each layer, and of index keys as layers behind those of latents, how many tokens that are kept there have come, and how many there are. */
  readonly #next: number[];
  readonly #kept: readonly number[];
  #missingLayers: number;
  /** Bytes since the device was told to take them. */
  #written = 0;

  /**
   * @param sequence holds the blocks of all tokens
   * @param options.tokens length of the prompt
   * @param options.from tokens that are there already
   */
  constructor(model: Model, sequence: CachedSequence, options: { readonly tokens: number; readonly from: number }) {
    const { tokens, from } = options;
    this.#model = model;
    this.sequence = sequence;
    this.tokens = tokens;
    const { buffers } = model.cache;
    this.#kept = buffers.map((buffer) => keptTokens(buffer.tokens, tokens));
    this.#next = buffers.map((buffer) => keptTokens(buffer.tokens, from));
    this.#missingLayers = this.#next.filter((next, layer) => next < this.#kept[layer]).length;
    if (this.complete) sequence.length = tokens;
  }

  /** Whether every layer of every token is here. */
  get complete(): boolean {
    return this.#missingLayers === 0;
  }

  /** Takes a frame in. @throws {LatentmeshError} `protocol` that says what does not fit */
  receive(frame: PeerFrameOf<"latents">, payload: Uint8Array<ArrayBuffer>): void {
    const { layers: [first, last], range: [begin, end] } = frame;
    const { cache: { buffers }, device } = this.#model;
    this.#check(frame.layers, frame.range);
    const { config } = buffers[first];
    if (buffers.slice(first, last).some((other) => other.config !== config)) {
      throw new LatentmeshError("protocol", `layers ${first} to ${last} are not of one kind`);
    }
    const count = end - begin;
    checkTensor(frame, payload, { dtype: config.dtype, shape: [last - first, count, sentWidth(config)] });
    const layerBytes = payload.byteLength / (last - first);
    for (let layer = first; layer < last; layer++) {
      const bytes = payload.subarray((layer - first) * layerBytes, (layer - first + 1) * layerBytes);
      importLatents(this.#model, layer, { sequence: this.sequence, start: begin, count }, bytes);
      this.#advance(layer, end);
    }
    this.#written += payload.byteLength;
    if (this.#written < MOST_WRITTEN) return;
    // Where no steps go on, nothing else would take what was written to the device.
    device.flush();
    this.#written = 0;
  }

  /**
   * Takes in what lies on this very device.
   *
   * @param range tokens, counted among those that are kept there, half-open
   * @param write records that the layer's latents of them come to the sequence's pages
   * @throws {LatentmeshError} `protocol` if those are not next
   */
  take(layer: number, range: readonly [begin: number, end: number], write: () => void): void {
    this.#check([layer, layer + 1], range);
    write();
    this.#advance(layer, range[1]);
  }

  #check([first, last]: readonly [number, number], [begin, end]: readonly [number, number]): void {
    if (last > this.#next.length || last <= first) throw new LatentmeshError("protocol", `there are no layers ${first} to ${last}`);
    for (let layer = first; layer < last; layer++) {
      if (begin === this.#next[layer] && end > begin && end <= this.#kept[layer]) continue;
      throw new LatentmeshError(
        "protocol",
        `tokens ${begin} to ${end} of layer ${layer} came where ${this.#next[layer]} to at most ${this.#kept[layer]} are due`,
      );
    }
  }

  #advance(layer: number, end: number): void {
    this.#next[layer] = end;
    if (end === this.#kept[layer] && --this.#missingLayers === 0) this.sequence.length = this.tokens;
  }
}
