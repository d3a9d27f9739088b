/**
 * Uniform parameters of every dispatch of one submission, in one buffer. Equal parameters share a slot, so a step of a thousand dispatches usually writes a
 * handful.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../core/errors.ts";
import { roundUp } from "../core/numeric.ts";
import type { Params } from "./contract.ts";

const SLOTS = 4096;
/** How far back an equal slot is looked for. */
const LOOK_BACK = 12;

/** Slots for uniforms, addressed by dynamic offset. */
export class UniformRing {
  readonly #gpu: GPUDevice;
  readonly #buffer: GPUBuffer;
  readonly #slotWords: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #lengths: Uint8Array<ArrayBuffer> = new Uint8Array(SLOTS);
  #used = 0;
  #flushed = 0;

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu;
    this.#slotWords = roundUp(64, gpu.limits.minUniformBufferOffsetAlignment) / 4;
    this.#words = new Uint32Array(SLOTS * this.#slotWords);
    this.#buffer = gpu.createBuffer({ label: "uniforms", size: this.#words.byteLength, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  }

  /** Binding of a uniform with `fields` words. */
  binding(fields: number): GPUBufferBinding {
    invariant(fields <= this.#slotWords, `a uniform of ${fields} words does not fit a slot of ${this.#slotWords}`);
    return { buffer: this.#buffer, size: roundUp(Math.max(fields * 4, 16), 16) };
  }

  /** Puts parameters into a slot and returns its dynamic offset. */
  place<P extends string>(keys: readonly P[], params: Params<P>): number {
    const slot = this.#equalSlot(keys, params) ?? this.#newSlot(keys, params);
    return slot * this.#slotWords * 4;
  }

  /** Writes the slots that were used since the last time to the device; call right before submitting. */
  flush(): void {
    const [begin, end] = [this.#flushed, this.#used].map((slot) => slot * this.#slotWords * 4);
    if (end > begin) this.#gpu.queue.writeBuffer(this.#buffer, begin, this.#words.buffer, begin, end - begin);
    this.#flushed = this.#used;
  }

  /** Begins anew; call when everything that uses a slot is submitted. */
  clear(): void {
    this.#used = 0;
    this.#flushed = 0;
  }

  #equalSlot<P extends string>(keys: readonly P[], params: Params<P>): number | null {
    for (let slot = this.#used - 1; slot >= Math.max(0, this.#used - LOOK_BACK); slot--) {
      if (this.#lengths[slot] !== keys.length) continue;
      const at = slot * this.#slotWords;
      let equal = true;
      for (let i = 0; i < keys.length && equal; i++) equal = this.#words[at + i] === params[keys[i]];
      if (equal) return slot;
    }
    return null;
  }

  #newSlot<P extends string>(keys: readonly P[], params: Params<P>): number {
    if (this.#used === SLOTS) throw new LatentmeshError("internal", `More than ${SLOTS} different parameter sets in one submission`);
    const slot = this.#used++;
    for (let i = 0; i < keys.length; i++) this.#words[slot * this.#slotWords + i] = params[keys[i]];
    this.#lengths[slot] = keys.length;
    return slot;
  }
}
