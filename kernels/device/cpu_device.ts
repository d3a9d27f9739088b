/**
 * The device that is always there: every kernel's TypeScript reference, run at once on host memory.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import type { HostBuffer, Kernel, Params } from "../authoring/contract.ts";
import {
  type BoundKernel,
  checkBindings,
  checkParams,
  checkView,
  checkWrite,
  type CompiledKernel,
  type Device,
  type DeviceBuffer,
  type DeviceCounters,
  type DeviceFeatures,
  type DeviceKind,
  type DeviceLimits,
  newCounters,
  PLAIN_FEATURES,
  type Readback,
  type Script,
  type Staging,
} from "./device.ts";
import { WrittenStaging } from "./staging/written_staging.ts";

class CpuBuffer implements DeviceBuffer, HostBuffer {
  readonly label: string;
  readonly bytes: number;
  f32: Float32Array<ArrayBuffer>;
  u32: Uint32Array<ArrayBuffer>;
  u16: Uint16Array<ArrayBuffer>;
  f16: Float16Array<ArrayBuffer>;
  u8: Uint8Array<ArrayBuffer>;
  readonly #counters: DeviceCounters | null;
  readonly #free: () => void;
  #counted: number;

  /** @param counters null of a view, which is counted where its memory is */
  constructor(label: string, bytes: number, { views, free }: HostMemory, counters: DeviceCounters | null) {
    this.label = label;
    this.bytes = bytes;
    this.#counters = counters;
    this.#free = free;
    this.#counted = bytes;
    if (counters !== null) counters.allocatedBytes += bytes;
    ({ f32: this.f32, u32: this.u32, u16: this.u16, f16: this.f16, u8: this.u8 } = views);
  }

  view(offset: number, bytes: number): DeviceBuffer {
    checkView(this, offset, bytes);
    const part = <T>(
      width: number,
      { buffer, byteOffset }: ArrayBufferView<ArrayBuffer>,
      View: new (of: ArrayBuffer, at: number, count: number) => T,
    ) => new View(buffer, byteOffset + offset, bytes / width);
    const views = {
      f32: part(4, this.f32, Float32Array<ArrayBuffer>),
      u32: part(4, this.u32, Uint32Array<ArrayBuffer>),
      u16: part(2, this.u16, Uint16Array<ArrayBuffer>),
      f16: part(2, this.f16, Float16Array<ArrayBuffer>),
      u8: part(1, this.u8, Uint8Array<ArrayBuffer>),
    };
    return new CpuBuffer(this.label, bytes, { views, free() {} }, null);
  }

  destroy(): void {
    if (this.#counted > 0) this.#free();
    ({ f32: this.f32, u32: this.u32, u16: this.u16, f16: this.f16, u8: this.u8 } = viewsOfAll(new ArrayBuffer(0)));
    if (this.#counters !== null) this.#counters.allocatedBytes -= this.#counted;
    this.#counted = 0;
  }
}

/** Memory of a buffer, and how it is given back. */
export interface HostMemory {
  readonly views: HostBuffer;
  free(): void;
}

function viewsOfAll(memory: ArrayBuffer): HostBuffer {
  return {
    f32: new Float32Array(memory),
    u32: new Uint32Array(memory),
    u16: new Uint16Array(memory),
    f16: new Float16Array(memory),
    u8: new Uint8Array(memory),
  };
}

/** A kernel of a CPU device with its buffers. */
export class CpuBound<P extends string> implements BoundKernel<P> {
  readonly name: string;
  readonly params: readonly P[];
  readonly most: Params<P>;
  readonly execute: (params: Params<P>) => void;

  constructor(name: string, params: readonly P[], most: Params<P>, execute: (params: Params<P>) => void) {
    this.name = name;
    this.params = params;
    this.most = most;
    this.execute = execute;
  }
}

class CpuReadback implements Readback {
  readonly bytes: number;
  readonly copy: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(bytes: number) {
    this.bytes = bytes;
    this.copy = new Uint8Array(bytes);
  }

  take(into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    return Promise.resolve(this.takeNow(into));
  }

  takeNow(into?: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const bytes = this.copy.subarray(0, this.length);
    if (into === undefined) return bytes;
    into.set(bytes);
    return into.subarray(0, this.length);
  }

  destroy(): void {}
}

interface CpuRun {
  readonly bound: CpuBound<string>;
  readonly params: Params<string>;
}

class CpuScript implements Script {
  readonly runs: readonly CpuRun[];

  constructor(runs: readonly CpuRun[]) {
    this.runs = runs;
  }

  get dispatches(): number {
    return this.runs.length;
  }
}

/** The plain-TypeScript device. */
export class CpuDevice implements Device {
  readonly kind: DeviceKind = "cpu";
  readonly description: string = "plain TypeScript kernels on one CPU core";
  readonly limits: DeviceLimits;
  readonly features: DeviceFeatures = PLAIN_FEATURES;
  readonly counters: DeviceCounters = newCounters();
  readonly lost: Promise<LatentmeshError> = new Promise(() => {});
  readonly keepsTimes: boolean;
  #ms = 0;
  #captured: CpuRun[] | null = null;

  /**
   * @param limits smaller limits than the host's, to exercise splitting
   * @param keepsTimes whether {@link takeTime} is going to be asked
   */
  constructor(limits: Partial<DeviceLimits> = {}, keepsTimes = false) {
    this.keepsTimes = keepsTimes;
    const bytes = 4 * 2 ** 30;
    this.limits = { maxBindingBytes: bytes, maxBufferBytes: bytes, maxWorkgroupBytes: 32768, maxWorkgroupThreads: 256, maxBindings: 16, ...limits };
  }

  createBuffer(label: string, bytes: number): DeviceBuffer {
    return new CpuBuffer(label, bytes, this.allocate(label, bytes), this.counters);
  }

  /** Memory of zeros. @throws {LatentmeshError} `out_of_memory` */
  protected allocate(label: string, bytes: number): HostMemory {
    try {
      // Views of every width need a whole number of words.
      return { views: viewsOfAll(new ArrayBuffer(roundUp(Math.max(bytes, 4), 4))), free() {} };
    } catch (cause) {
      throw new LatentmeshError("out_of_memory", `Cannot allocate ${bytes} bytes of host memory for ${label}`, { cause });
    }
  }

  createReadback(_label: string, bytes: number): Promise<Readback> {
    return Promise.resolve(new CpuReadback(bytes));
  }

  createStaging(blockBytes: number, blocks: number): Staging {
    return new WrittenStaging(this, blockBytes, blocks);
  }

  write(buffer: DeviceBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    checkWrite(buffer, offset, data);
    (buffer as CpuBuffer).u8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
  }

  flush(): void {}

  compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    return Promise.resolve({
      bind: (buffers, most) => {
        checkBindings(kernel, config, buffers, most);
        const host = buffers as Readonly<Record<B, DeviceBuffer>> as unknown as Readonly<Record<B, HostBuffer>>;
        return new CpuBound(kernel.name, kernel.params, most, (params) => kernel.reference(config, host, params));
      },
    });
  }

  run<P extends string>(bound: BoundKernel<P>, params: Params<P>): void {
    const kernel = bound as CpuBound<P>;
    checkParams(kernel.name, kernel.params, params, kernel.most);
    // Whoever runs it may use the same object for other parameters next.
    if (this.#captured !== null) return void this.#captured.push({ bound: bound as unknown as CpuBound<string>, params: { ...params } });
    this.counters.dispatches++;
    if (!this.keepsTimes) return kernel.execute(params);
    const started = performance.now();
    kernel.execute(params);
    this.#ms += performance.now() - started;
  }

  read(readback: Readback, buffer: DeviceBuffer, offset: number, bytes: number): void {
    const target = readback as CpuReadback;
    target.copy.set((buffer as CpuBuffer).u8.subarray(offset, offset + bytes));
    target.length = bytes;
    this.counters.readbackBytes += bytes;
  }

  capture(record: () => void): Script {
    const runs: CpuRun[] = this.#captured = [];
    try {
      record();
    } finally {
      this.#captured = null;
    }
    return new CpuScript(runs);
  }

  play(script: Script): boolean {
    for (const { bound, params } of (script as CpuScript).runs) this.run(bound, params);
    return true;
  }

  submit(): void {
    this.counters.submissions++;
  }

  anticipate(): void {}

  measure(record: () => void): Promise<number> {
    const started = performance.now();
    record();
    return Promise.resolve(performance.now() - started);
  }

  forgetTime(): void {
    this.#ms = 0;
  }

  takeTime(): Promise<number> {
    const ms = this.#ms;
    this.#ms = 0;
    return Promise.resolve(ms);
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
