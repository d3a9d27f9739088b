/**
 * What the forward pass needs of a device. Implementations: `cpu_device.ts` (the references), `gpu_device.ts` (WebGPU through Deno or Dawn).
 *
 * Work is recorded with {@link Device.run} and {@link Device.read} and starts at {@link Device.submit}: one submission per step.
 *
 * @module
 */
import type { DeviceKind } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { Kernel, Params } from "../authoring/contract.ts";

export type { DeviceKind } from "../../core/device_kind.ts";

/** A block of device memory, zero when created. */
export interface DeviceBuffer {
  readonly label: string;
  readonly bytes: number;
  /**
   * A part of it as a buffer, in the same memory and for as long: destroying the part does nothing.
   *
   * @param offset first byte, a multiple of {@link VIEW_ALIGNMENT}
   */
  view(offset: number, bytes: number): DeviceBuffer;
  destroy(): void;
}

/** Bytes that every device can bind a part of a buffer at. */
export const VIEW_ALIGNMENT = 256;

/** Checks that a part of a buffer is in it, and at a place that can be bound. */
export function checkView({ label, bytes }: DeviceBuffer, offset: number, part: number): void {
  if (offset >= 0 && offset % VIEW_ALIGNMENT === 0 && part % 4 === 0 && offset + part <= bytes) return;
  throw new LatentmeshError(
    "internal",
    `Cannot view ${part} bytes of ${label} at ${offset}: it has ${bytes}, and parts begin at multiples of ${VIEW_ALIGNMENT}`,
  );
}

/** A kernel with its buffers: compiled, checked and ready to be run any number of times. */
export interface BoundKernel<P extends string> {
  readonly name: string;
  readonly params: readonly P[];
}

/** A compiled kernel. */
export interface CompiledKernel<B extends string, P extends string> {
  /**
   * Binds buffers once.
   *
   * @param most the largest parameters it will be run with; buffers are checked against them here, so that running costs nothing
   * @throws {LatentmeshError} `internal` if a buffer is too small
   */
  bind(buffers: Readonly<Record<B, DeviceBuffer>>, most: Params<P>): BoundKernel<P>;
}

/** Reusable way back to host memory. */
export interface Readback {
  readonly bytes: number;
  /**
   * Waits for the submission that {@link Device.read} was part of. The view is valid until the next `read` into this readback.
   *
   * @param into where the bytes go instead of memory of the readback's own, such as the payload of a frame
   */
  take(into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * The same without a turn of the event loop: the bytes when the device is done, which is waited for on this thread. No promise settles meanwhile, and no
   * timer runs.
   *
   * @param idle called over and over while there is time for it, or once where the wait cannot be interrupted; takes some microseconds at most
   * @returns null if it takes too long or fails: await {@link Readback.take}, which goes on waiting or says why. (`deno` waits for as long as it takes.)
   */
  takeNow(into?: Uint8Array<ArrayBuffer>, idle?: () => void): Uint8Array<ArrayBuffer> | null;
  destroy(): void;
}

/** Runs of kernels that were taken down. */
export interface Script {
  /** How many. */
  readonly dispatches: number;
}

/** A part of a block and where it goes. Offsets and bytes are multiples of 4. */
export interface StagedCopy {
  /** First byte in the block. */
  readonly from: number;
  readonly buffer: DeviceBuffer;
  /** First byte in the buffer. */
  readonly to: number;
  readonly bytes: number;
}

/** Host memory on its way to the device. Its bytes are to be written and not read: they may lie where reading is slow. */
export interface StagingBlock {
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Gives the block back: its parts are copied before anything that is submitted later. */
  copy(parts: readonly StagedCopy[]): void;
}

/** The way of many bytes to a device: blocks that are filled, by reads from a file for one, while others are on their way. */
export interface Staging {
  /** A block that is free; waits for one. @throws {LatentmeshError} `device_lost` */
  take(): Promise<StagingBlock>;
  /** Waits for what is under way and frees the memory. Every block must have been given back. */
  close(): Promise<void>;
}

/** How bytes get there: in buffers that are mapped while they are filled, or by `writeBuffer`, which copies them once more, into memory that it allocates. */
export type StagingKind = "mapped" | "written";

/** Limits that decide how tensors are split. */
export interface DeviceLimits {
  /** Largest part of a buffer that a kernel can see through one binding. */
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  readonly maxWorkgroupBytes: number;
  /** Threads of a workgroup that has one dimension. */
  readonly maxWorkgroupThreads: number;
  /** Buffers that a kernel can bind, besides its uniform. */
  readonly maxBindings: number;
}

/** What kernels may use where a device has it. */
export interface DeviceFeatures {
  /** Products of 16 x 16 matrices, f16 with f32 sums, in subgroups of 32: `chromium-experimental-subgroup-matrix`. */
  readonly matrixUnits: boolean;
  /** Least threads in a subgroup, whose threads can exchange values without workgroup memory; 0 where there are none. */
  readonly subgroups: number;
}

/** What every device can do. */
export const PLAIN_FEATURES: DeviceFeatures = { matrixUnits: false, subgroups: 0 };

/** Running totals, for benches, metrics and tests. */
export interface DeviceCounters {
  submissions: number;
  /** Submissions that were as anticipated ({@link Device.anticipate}): what was encoded before it was asked for was what was asked for. */
  submissionsAhead: number;
  /** Submissions that were not as anticipated. */
  submissionsUnforeseen: number;
  dispatches: number;
  /** Readbacks that had to wait in `mapAsync`, which in Deno costs 10 ms each. */
  awaitedMaps: number;
  readbackBytes: number;
  /** Bytes of buffers that have not been destroyed. */
  allocatedBytes: number;
  /** Milliseconds of encoding ahead, and of handing commands to the device. */
  encodeMs: number;
  submitMs: number;
}

/** One device of one process. */
export interface Device {
  readonly kind: DeviceKind;
  /** Name of the hardware or driver, for people. */
  readonly description: string;
  readonly limits: DeviceLimits;
  readonly features: DeviceFeatures;
  readonly counters: DeviceCounters;
  /** Settles when the device is lost unexpectedly, or has refused something, after which nothing can be relied on. */
  readonly lost: Promise<LatentmeshError>;

  /** @throws {LatentmeshError} `out_of_memory` */
  createBuffer(label: string, bytes: number): DeviceBuffer;
  createReadback(label: string, bytes: number): Promise<Readback>;
  /** @param blockBytes a multiple of 4 */
  createStaging(blockBytes: number, blocks: number): Staging;
  /** Takes effect before the next submission. `offset` and the length of `data` are multiples of 4. */
  write(buffer: DeviceBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void;
  /** Starts what was written, though nothing is recorded: drivers keep copies until then. */
  flush(): void;
  compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>>;
  run<P extends string>(bound: BoundKernel<P>, params: Params<P>): void;
  read(readback: Readback, buffer: DeviceBuffer, offset: number, bytes: number): void;
  /**
   * Takes down what `record` runs, for it to be played any number of times at next to no cost. `record` is called at once and does nothing but run kernels, the
   * same ones with the same parameters whenever it is called.
   */
  capture(record: () => void): Script;
  /** Runs what was captured, as if it were recorded again. @returns false if the device has forgotten it, which must be captured again */
  play(script: Script): boolean;
  /** Starts what was recorded since the last submission. @throws {LatentmeshError} `device_lost` */
  submit(): void;
  /**
   * Encodes what will most likely be recorded next, while the device works on what was just submitted. If that is then recorded, in the same order and with the same
   * parameters, it need only be submitted; what differs from some place on is encoded as if nothing had been said, and what follows is, too.
   *
   * `record` is called at once and does nothing but say what it would record: no command runs, no byte is read back, and {@link Device.write} and
   * {@link Device.submit} do nothing. Only the last word before the next command counts, and none while something is recorded and not submitted. Where nothing is
   * encoded (`cpu`), `record` is not called.
   */
  anticipate(record: () => void): void;
  /**
   * Runs what `record` records, after everything before it, and waits for it: for benches.
   *
   * @returns milliseconds on the device; by the host's clock where the device has none to ask
   */
  measure(record: () => void): Promise<number>;
  /** Set where nothing is stored: what would be written need not be made. */
  readonly onlyCounts?: true;
  /** Whether it keeps times for {@link takeTime}, which costs some. */
  readonly keepsTimes: boolean;
  /** What was submitted until now is not asked for. */
  forgetTime(): void;
  /** Waits for what was submitted since time was last taken or forgotten, and says how many milliseconds it took on the device; 0 if it keeps no times. */
  takeTime(): Promise<number>;
  /** Waits for everything submitted; reports deferred errors. @throws {LatentmeshError} `device_lost` or `out_of_memory` */
  settle(): Promise<void>;
  /** Frees everything; resolves when nothing of the device is pending any more. */
  close(): Promise<void>;
}

/** Fresh totals. */
export function newCounters(): DeviceCounters {
  return {
    submissions: 0,
    submissionsAhead: 0,
    submissionsUnforeseen: 0,
    dispatches: 0,
    awaitedMaps: 0,
    readbackBytes: 0,
    allocatedBytes: 0,
    encodeMs: 0,
    submitMs: 0,
  };
}

/** Checks every binding of a kernel against what it needs at its largest parameters. */
export function checkBindings<C, B extends string, P extends string>(
  kernel: Kernel<C, B, P>,
  config: C,
  buffers: Readonly<Record<B, DeviceBuffer>>,
  most: Params<P>,
): void {
  const needed = kernel.sizes(config, most);
  for (const name of Object.keys(kernel.bindings) as B[]) {
    const buffer = buffers[name];
    if (buffer.bytes < needed[name]) {
      throw new LatentmeshError(
        "internal",
        `Cannot bind ${kernel.name}: "${name}" (${buffer.label}) has ${buffer.bytes} bytes, needs ${needed[name]}`,
      );
    }
  }
}

/** Checks what is written before it is queued: a device that finds out later is not told which write it was, and refuses everything from then on. */
export function checkWrite({ label, bytes }: DeviceBuffer, offset: number, { byteLength }: ArrayBufferView): void {
  if (offset % 4 === 0 && byteLength % 4 === 0 && offset + byteLength <= bytes) return;
  throw new LatentmeshError(
    "internal",
    `Cannot write ${byteLength} bytes to ${label} at ${offset}: it has ${bytes} bytes, and all are counted in fours`,
  );
}

/** Checks that a bound kernel is not run beyond what its buffers were checked for. */
export function checkParams<P extends string>(name: string, keys: readonly P[], params: Params<P>, most: Params<P>): void {
  for (const key of keys) {
    if (!(params[key] <= most[key])) {
      throw new LatentmeshError("internal", `Cannot run ${name}: ${key} = ${params[key]}, but its buffers were checked for at most ${most[key]}`);
    }
  }
}
