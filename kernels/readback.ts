/**
 * The one way back from a GPU. In Deno every `mapAsync` costs at least 10 ms, because the runtime sleeps before it resolves. `getMappedRange`
 * called right after `mapAsync`, without awaiting it, blocks just until the GPU is done (0.14 ms instead of 11.7 ms on an H200), provided the buffer
 * has been mapped once before: on a buffer that never was, Deno panics. So {@link GpuReadback.create} does that first map, and only this file maps.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import type { LatentmeshError } from "../core/errors.ts";
import type { Copy } from "./command_recorder.ts";
import type { DawnLooks, WaitFor } from "./dawn_looks.ts";
import type { DeviceCounters, Readback } from "./device.ts";

/** A staging buffer and its host copy. */
export class GpuReadback implements Readback {
  readonly bytes: number;
  readonly #staging: GPUBuffer;
  readonly #host: Uint8Array<ArrayBuffer>;
  readonly #counters: DeviceCounters;
  /** How to await a mapping; null where none needs to be awaited. */
  readonly #waitFor: WaitFor | null;
  readonly #failure: () => LatentmeshError | null;
  /** Resolves when the last mapping has settled, which in Deno is 10 ms after its data was taken. */
  settled: Promise<void> = Promise.resolve();
  #recorded = 0;

  private constructor(staging: GPUBuffer, counters: DeviceCounters, looks: DawnLooks | null, failure: () => LatentmeshError | null) {
    this.bytes = staging.size;
    this.#staging = staging;
    this.#host = new Uint8Array(staging.size);
    this.#counters = counters;
    this.#waitFor = looks?.kind() ?? null;
    this.#failure = failure;
  }

  /**
   * @param looks Dawn's; null where the provider allows `getMappedRange` before `mapAsync` has settled, as Deno does
   * @param failure why the device failed, if it did
   */
  static async create(
    gpu: GPUDevice,
    label: string,
    bytes: number,
    counters: DeviceCounters,
    looks: DawnLooks | null,
    failure: () => LatentmeshError | null,
  ): Promise<GpuReadback> {
    const staging = gpu.createBuffer({ label: `${label} readback`, size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    await staging.mapAsync(GPUMapMode.READ);
    staging.unmap();
    return new GpuReadback(staging, counters, looks, failure);
  }

  /** The copy into the staging buffer, which must be submitted before {@link take}. */
  copyOf(source: GPUBuffer, sourceOffset: number, bytes: number): Copy {
    this.#recorded = bytes;
    return { source, sourceOffset, destination: this.#staging, bytes };
  }

  async take(into: Uint8Array<ArrayBuffer> = this.#host): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#recorded;
    const mapping = this.#staging.mapAsync(GPUMapMode.READ, 0, bytes);
    const mapped = (this.#waitFor === null && this.#tryMappedRange(bytes)) || (await this.#awaitMappedRange(mapping, bytes));
    const view = into.subarray(0, bytes);
    view.set(new Uint8Array(mapped));
    this.#staging.unmap();
    // Unmapping may reject the mapping, which nobody but `settled` awaits.
    this.settled = mapping.then(() => {}, () => {});
    this.#counters.readbackBytes += bytes;
    // As awaiting a mapping would: the ends of earlier mappings are dealt with here, where peers are at the same point, instead of between sending and receiving.
    if (this.#waitFor === null) await setImmediate();
    return view;
  }

  destroy(): void {
    this.#staging.destroy();
  }

  #tryMappedRange(bytes: number): ArrayBuffer | null {
    try {
      return this.#staging.getMappedRange(0, bytes);
    } catch {
      return null;
    }
  }

  async #awaitMappedRange(mapping: Promise<undefined>, bytes: number): Promise<ArrayBuffer> {
    this.#counters.awaitedMaps++;
    try {
      await (this.#waitFor?.(mapping) ?? mapping);
      return this.#staging.getMappedRange(0, bytes);
    } catch (error) {
      // A mapping fails because the device did; what became of the device is told a turn later.
      await setImmediate();
      throw this.#failure() ?? error;
    }
  }
}
