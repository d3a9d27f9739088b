/**
 * Uniform parameters of dispatches, in one buffer. Equal parameters share a slot, so a step of a thousand dispatches usually writes a handful.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import type { Params } from "../authoring/contract.ts";

/** Slots where nothing else is asked for: a long prompt has some hundred different parameters for every layer's windows. */
const SLOTS = 4096;

/** Slots of parameters that are kept: a step has some ten different ones, which depend on how many rows and how long sequences it has. */
const KEPT_SLOTS = 4096;

/** Slots next to each other in the buffer. */
class Shelf {
  readonly #gpu: GPUDevice;
  readonly #buffer: GPUBuffer;
  readonly #first: number;
  readonly #slots: number;
  readonly #slotWords: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #lengths: Uint8Array<ArrayBuffer>;
  /** Slots by their contents' hash, the next place if that is taken; valid where the turn beside them is this one. */
  readonly #table: Uint32Array<ArrayBuffer>;
  readonly #turns: Uint32Array<ArrayBuffer>;
  #turn = 1;
  readonly #wanted: Uint32Array<ArrayBuffer>;
  #used = 0;
  #flushed = 0;

  constructor(gpu: GPUDevice, buffer: GPUBuffer, { first, slots, slotWords }: Readonly<Record<"first" | "slots" | "slotWords", number>>) {
    this.#gpu = gpu;
    this.#buffer = buffer;
    this.#first = first;
    this.#slots = slots;
    this.#slotWords = slotWords;
    this.#words = new Uint32Array(slots * slotWords);
    this.#lengths = new Uint8Array(slots);
    this.#table = new Uint32Array(slots * 2);
    this.#turns = new Uint32Array(slots * 2);
    this.#wanted = new Uint32Array(slotWords);
  }

  place<P extends string>(keys: readonly P[], params: Params<P>): number | null {
    const wanted = this.#wanted;
    let hash = keys.length;
    for (let i = 0; i < keys.length; i++) {
      wanted[i] = params[keys[i]];
      hash = Math.imul(hash ^ wanted[i], 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    const last = this.#table.length - 1;
    let place = hash & last;
    for (; this.#turns[place] === this.#turn; place = (place + 1) & last) {
      const slot = this.#table[place];
      if (this.#holds(slot, keys.length)) return this.#offsetOf(slot);
    }
    if (this.#used === this.#slots) return null;
    const slot = this.#used++;
    const at = slot * this.#slotWords;
    for (let i = 0; i < keys.length; i++) this.#words[at + i] = wanted[i];
    this.#lengths[slot] = keys.length;
    this.#table[place] = slot;
    this.#turns[place] = this.#turn;
    return this.#offsetOf(slot);
  }

  flush(): void {
    const [begin, end] = [this.#flushed, this.#used].map((slot) => slot * this.#slotWords * 4);
    if (end > begin) this.#gpu.queue.writeBuffer(this.#buffer, this.#offsetOf(this.#flushed), this.#words.buffer, begin, end - begin);
    this.#flushed = this.#used;
  }

  clear(): void {
    this.#used = 0;
    this.#flushed = 0;
    if (this.#turn === 2 ** 32 - 1) {
      this.#turns.fill(0);
      this.#turn = 0;
    }
    this.#turn++;
  }

  #offsetOf(slot: number): number {
    return (this.#first + slot) * this.#slotWords * 4;
  }

  #holds(slot: number, length: number): boolean {
    if (this.#lengths[slot] !== length) return false;
    const at = slot * this.#slotWords;
    for (let i = 0; i < length; i++) if (this.#words[at + i] !== this.#wanted[i]) return false;
    return true;
  }
}

/** How many slots there are. */
export interface UniformSlots {
  /** For different parameters of one piece of a submission, a power of two. */
  readonly slots?: number;
  /** For those that are kept, a power of two. */
  readonly kept?: number;
}

/** Slots for uniforms, addressed by dynamic offset. The same parameters in the same order get the same offsets, from each {@link UniformRing.clear} on. */
export class UniformRing {
  readonly #slotWords: number;
  readonly #buffer: GPUBuffer;
  readonly #passing: Shelf;
  readonly #kept: Shelf;

  constructor(gpu: GPUDevice, { slots = SLOTS, kept = KEPT_SLOTS }: UniformSlots = {}) {
    const slotWords = this.#slotWords = roundUp(64, gpu.limits.minUniformBufferOffsetAlignment) / 4;
    const size = (slots + kept) * slotWords * 4;
    this.#buffer = gpu.createBuffer({ label: "uniforms", size, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    this.#passing = new Shelf(gpu, this.#buffer, { first: 0, slots, slotWords });
    this.#kept = new Shelf(gpu, this.#buffer, { first: slots, slots: kept, slotWords });
  }

  /** Binding of a uniform with `fields` words. */
  binding(fields: number): GPUBufferBinding {
    invariant(fields <= this.#slotWords, `a uniform of ${fields} words does not fit a slot of ${this.#slotWords}`);
    return { buffer: this.#buffer, size: roundUp(Math.max(fields * 4, 16), 16) };
  }

  /** Puts parameters into a slot. @returns its dynamic offset; null if all slots hold others */
  place<P extends string>(keys: readonly P[], params: Params<P>): number | null {
    return this.#passing.place(keys, params);
  }

  /** The same for slots that stay until {@link UniformRing.forget}. */
  keep<P extends string>(keys: readonly P[], params: Params<P>): number | null {
    return this.#kept.place(keys, params);
  }

  /** Writes the slots that were used since the last time to the device; call right before submitting. */
  flush(): void {
    this.#passing.flush();
    this.#kept.flush();
  }

  /** Begins anew, but for those that are kept; call when everything that uses a slot is submitted: what is written later takes effect after that. */
  clear(): void {
    this.#passing.clear();
  }

  /** Forgets those that are kept, likewise. */
  forget(): void {
    this.#kept.clear();
  }
}
