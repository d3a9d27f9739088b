/**
 * How long the device takes for everything that is submitted, by its own clock: two timestamps around every pass. They cost time, so they are written only where
 * somebody asks for them (`LATENTMESH_DEVICE_TIMES`).
 *
 * @module
 */
import type { LatentmeshError } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import type { PassTiming } from "./command_recorder.ts";
import type { DawnPolling } from "./dawn_polling.ts";
import type { DeviceCounters } from "./device.ts";
import { GpuReadback } from "./readback.ts";

/** Passes that are timed from one poll to the next: a set holds 4096 queries. What goes beyond is not counted. */
const PASSES = 2048;
/** Passes that may be encoded and not submitted: theirs are not read. */
const AHEAD = 256;
/** Two 64-bit counts of nanoseconds. */
const BYTES = 16;
/** Where results of a resolved range may begin. */
const ALIGNMENT = 256;
/** Ranges that are resolved at a time; passes lie in few unless much of what was encoded was not submitted. */
const MOST_RANGES = 128;

/** Passes next to each other in the set. */
interface PassRange {
  readonly first: number;
  count: number;
}

/** Times all passes of one device. */
export class PassTimes implements PassTiming {
  readonly #gpu: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #encoded = new WeakMap<GPUCommandBuffer, readonly number[]>();
  #readback: GpuReadback | null = null;
  /** Submitted since the last poll. */
  #passes: number[] = [];
  #next = 0;

  constructor(gpu: GPUDevice) {
    const size = PASSES * BYTES + MOST_RANGES * ALIGNMENT;
    this.#gpu = gpu;
    this.#queries = gpu.createQuerySet({ type: "timestamp", count: PASSES * 2 });
    this.#resolved = gpu.createBuffer({ label: "pass times", size, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  }

  /** Resolves when nothing of it is pending. */
  get settled(): Promise<void> {
    return this.#readback?.settled ?? Promise.resolve();
  }

  /** Frees what belongs to it. */
  destroy(): void {
    this.#queries.destroy();
    this.#resolved.destroy();
    this.#readback?.destroy();
  }

  begin(passes: number[]): GPUComputePassDescriptor | undefined {
    if (this.#passes.length >= PASSES - AHEAD) return undefined;
    const pass = this.#next;
    this.#next = (pass + 1) % PASSES;
    passes.push(pass);
    return { timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: pass * 2, endOfPassWriteIndex: pass * 2 + 1 } };
  }

  encoded(buffer: GPUCommandBuffer, passes: readonly number[]): void {
    if (passes.length > 0) this.#encoded.set(buffer, passes);
  }

  /** A command buffer was submitted. */
  submitted(buffer: GPUCommandBuffer): void {
    this.#passes.push(...this.#encoded.get(buffer) ?? []);
  }

  /** What was submitted until now is not looked at. */
  forget(): void {
    this.#passes = [];
  }

  /** Milliseconds of all passes since the last poll, when the device is done with them. Times that others need go through a {@link GpuReadback} as theirs do. */
  async take(counters: DeviceCounters, polling: DawnPolling | null, failure: () => LatentmeshError | null): Promise<number> {
    const ranges = rangesOf(this.#passes).slice(0, MOST_RANGES);
    this.#passes = [];
    if (ranges.length === 0) return 0;
    this.#readback ??= await GpuReadback.create(this.#gpu, "pass times", this.#resolved.size, counters, polling, failure);
    const encoder = this.#gpu.createCommandEncoder();
    let bytes = 0;
    const places = ranges.map(({ first, count }) => {
      const place = { at: bytes, count };
      // Only what was written: some drivers wait for the rest for ever.
      encoder.resolveQuerySet(this.#queries, first * 2, count * 2, this.#resolved, bytes);
      bytes = roundUp(bytes + count * BYTES, ALIGNMENT);
      return place;
    });
    const copy = this.#readback.copyOf({ gpu: this.#resolved, offset: 0 }, 0, bytes);
    this.#readback.expect(bytes, 0);
    encoder.copyBufferToBuffer(copy.source, copy.sourceOffset, copy.destination, 0, bytes);
    this.#gpu.queue.submit([encoder.finish()]);
    const times = new BigUint64Array((await this.#readback.take()).slice().buffer);
    let nanoseconds = 0;
    for (const { at, count } of places) {
      for (let i = 0; i < count; i++) nanoseconds += Math.max(0, Number(times[at / 8 + i * 2 + 1] - times[at / 8 + i * 2]));
    }
    return nanoseconds / 1e6;
  }
}

function rangesOf(passes: readonly number[]): PassRange[] {
  const ranges: PassRange[] = [];
  for (const pass of passes) {
    const last = ranges.at(-1);
    if (last !== undefined && last.first + last.count === pass) last.count++;
    else ranges.push({ first: pass, count: 1 });
  }
  return ranges;
}
