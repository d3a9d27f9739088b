/**
 * The one way back from a GPU. In Deno every `mapAsync` costs at least 10 ms, because the runtime sleeps before it resolves. `getMappedRange`
 * called right after `mapAsync`, without awaiting it, blocks just until the GPU is done (0.14 ms instead of 11.7 ms on an H200), provided the buffer
 * has been mapped once before: on a buffer that never was, Deno panics. So {@link GpuReadback.create} does that first map, and only this file maps. Under Dawn
 * a mapping is there after the poll that finds it done (`dawn_polling.ts`), before its promise has settled.
 *
 * @module
 */
import type { GpuPlace } from "./gpu_parts.ts";
import { setImmediate } from "node:timers/promises";
import type { LatentmeshError } from "../../core/errors.ts";
import type { Copy } from "./command_recorder.ts";
import type { DawnPolling, Wait, WaitKind } from "./dawn_polling.ts";
import type { DeviceCounters, Readback } from "./device.ts";

/** Turns of the event loop until a device that failed has said so, at most. */
const LATEST_TURN = 8;

/** A mapping that was asked for. */
interface Mapping {
  readonly bytes: number;
  readonly promise: Promise<undefined>;
  readonly wait: Wait | null;
}

/** A staging buffer and its host copy. */
export class GpuReadback implements Readback {
  readonly bytes: number;
  readonly #staging: GPUBuffer;
  readonly #host: Uint8Array<ArrayBuffer>;
  readonly #counters: DeviceCounters;
  /** How to wait for a mapping; null where none needs to be waited for. */
  readonly #waits: WaitKind | null;
  readonly #failure: () => LatentmeshError | null;
  /** Resolves when the last mapping has settled, which in Deno is 10 ms after its data was taken. */
  settled: Promise<void> = Promise.resolve();
  #recorded = { bytes: 0, work: 0 };
  /** One that could not be had at once. */
  #mapping: Mapping | null = null;

  private constructor(staging: GPUBuffer, counters: DeviceCounters, polling: DawnPolling | null, failure: () => LatentmeshError | null) {
    this.bytes = staging.size;
    this.#staging = staging;
    this.#host = new Uint8Array(staging.size);
    this.#counters = counters;
    this.#waits = polling?.kind() ?? null;
    this.#failure = failure;
  }

  /**
   * @param polling Dawn's; null where the provider allows `getMappedRange` before `mapAsync` has settled, as Deno does
   * @param failure why the device failed, if it did
   */
  static async create(
    gpu: GPUDevice,
    label: string,
    bytes: number,
    counters: DeviceCounters,
    polling: DawnPolling | null,
    failure: () => LatentmeshError | null,
  ): Promise<GpuReadback> {
    const staging = gpu.createBuffer({ label: `${label} readback`, size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    await staging.mapAsync(GPUMapMode.READ);
    staging.unmap();
    return new GpuReadback(staging, counters, polling, failure);
  }

  /** The copy into the staging buffer. */
  copyOf({ gpu: source, offset: start }: GpuPlace, offset: number, bytes: number): Copy {
    return { source, sourceOffset: start + offset, destination: this.#staging, bytes };
  }

  /**
   * Says that such a copy was recorded, which must be submitted before {@link take}.
   *
   * @param work how much the device does for it, in workgroups: what is going to be waited for
   */
  expect(bytes: number, work: number): void {
    this.#recorded = { bytes, work };
  }

  async take(into: Uint8Array<ArrayBuffer> = this.#host): Promise<Uint8Array<ArrayBuffer>> {
    const mapping = this.#mapping ?? this.#map();
    this.#mapping = null;
    const mapped = (mapping.wait === null && this.#tryMappedRange(mapping)) || (await this.#awaitMappedRange(mapping));
    const view = this.#copy(mapping, mapped, into);
    // As awaiting a mapping would: the ends of earlier mappings are dealt with here, where peers are at the same point, instead of between sending and receiving.
    if (mapping.wait === null) await setImmediate();
    return view;
  }

  takeNow(into: Uint8Array<ArrayBuffer> = this.#host, idle?: () => void): Uint8Array<ArrayBuffer> | null {
    const mapping = this.#mapping ?? this.#map();
    this.#mapping = null;
    const { wait } = mapping;
    if (wait === null) idle?.();
    const there = wait === null || (wait.untilNow(() => this.#staging.mapState !== "pending", idle) && this.#staging.mapState === "mapped");
    const mapped = there ? this.#tryMappedRange(mapping) : null;
    if (mapped !== null) return this.#copy(mapping, mapped, into);
    this.#mapping = mapping;
    // It is `take` that says why.
    mapping.promise.catch(() => {});
    return null;
  }

  destroy(): void {
    this.#staging.destroy();
  }

  #map(): Mapping {
    const { bytes, work } = this.#recorded;
    const wait = this.#waits?.(work) ?? null;
    return { bytes, wait, promise: this.#staging.mapAsync(GPUMapMode.READ, 0, bytes) };
  }

  #copy({ bytes, promise }: Mapping, mapped: ArrayBuffer, into: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const view = into.subarray(0, bytes);
    view.set(new Uint8Array(mapped));
    this.#staging.unmap();
    // Unmapping may reject the mapping, which nobody but `settled` awaits.
    this.settled = promise.then(() => {}, () => {});
    this.#counters.readbackBytes += bytes;
    return view;
  }

  #tryMappedRange({ bytes }: Mapping): ArrayBuffer | null {
    try {
      return this.#staging.getMappedRange(0, bytes);
    } catch {
      return null;
    }
  }

  async #awaitMappedRange({ bytes, promise, wait }: Mapping): Promise<ArrayBuffer> {
    this.#counters.awaitedMaps++;
    try {
      await (wait?.until(promise) ?? promise);
      return this.#staging.getMappedRange(0, bytes);
    } catch (error) {
      // A mapping fails because the device did; what became of the device is told a turn or two later.
      for (let turn = 0; turn < LATEST_TURN && this.#failure() === null; turn++) await setImmediate();
      throw this.#failure() ?? error;
    }
  }
}
