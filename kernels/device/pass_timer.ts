/**
 * How long a compute pass took on the device, by its own clock (`timestamp-query`).
 *
 * @module
 */
import type { LatentmeshError } from "../../core/errors.ts";
import type { DawnPolling } from "./dawn_polling.ts";
import type { DeviceCounters } from "./device.ts";
import { GpuReadback } from "./readback.ts";

/** Two 64-bit counts of nanoseconds. */
const BYTES = 16;

/** Times one pass at a time. */
export class PassTimer {
  /** For `beginComputePass`. */
  readonly writes: GPUComputePassTimestampWrites;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #readback: GpuReadback;

  private constructor(queries: GPUQuerySet, resolved: GPUBuffer, readback: GpuReadback) {
    this.#queries = queries;
    this.#resolved = resolved;
    this.#readback = readback;
    this.writes = { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
  }

  /**
   * @param polling as for {@link GpuReadback}
   * @param failure why the device failed, if it did
   */
  static async create(
    gpu: GPUDevice,
    counters: DeviceCounters,
    polling: DawnPolling | null,
    failure: () => LatentmeshError | null,
  ): Promise<PassTimer> {
    const resolved = gpu.createBuffer({ label: "timestamps", size: BYTES, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
    const readback = await GpuReadback.create(gpu, "timestamps", BYTES, counters, polling, failure);
    return new PassTimer(gpu.createQuerySet({ type: "timestamp", count: 2 }), resolved, readback);
  }

  /** Resolves when nothing of it is pending. */
  get settled(): Promise<void> {
    return this.#readback.settled;
  }

  /** Frees what belongs to it. */
  destroy(): void {
    this.#queries.destroy();
    this.#resolved.destroy();
    this.#readback.destroy();
  }

  /** Records how the times come back, after the pass has ended. @param work what the pass does, as for {@link GpuReadback.expect} */
  resolve(encoder: GPUCommandEncoder, work: number): void {
    encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolved, 0);
    const { source, sourceOffset, destination, bytes } = this.#readback.copyOf({ gpu: this.#resolved, offset: 0 }, 0, BYTES);
    this.#readback.expect(BYTES, work);
    encoder.copyBufferToBuffer(source, sourceOffset, destination, 0, bytes);
  }

  /** Of the pass that was submitted last. */
  async milliseconds(): Promise<number> {
    const [begin, end] = new BigUint64Array((await this.#readback.take()).slice().buffer);
    return Number(end - begin) / 1e6;
  }
}
