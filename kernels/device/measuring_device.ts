/**
 * A device that only counts: what would be allocated is checked against limits and added up, nothing is stored or computed. Plans are made on it by the code that
 * later loads, so that they cannot disagree.
 *
 * @module
 */
import type { LatentmeshError } from "../../core/errors.ts";
import type { Kernel, Params } from "../authoring/contract.ts";
import {
  type BoundKernel,
  checkBindings,
  checkView,
  type CompiledKernel,
  type Device,
  type DeviceBuffer,
  type DeviceCounters,
  type DeviceFeatures,
  type DeviceLimits,
  newCounters,
  PLAIN_FEATURES,
  type Readback,
  type Script,
  type Staging,
} from "./device.ts";
import { WrittenStaging } from "./staging/written_staging.ts";

/** What most GPUs allow at least; buffers that are larger are split. */
const USUAL_LIMITS: DeviceLimits = {
  maxBindingBytes: 2 ** 31 - 4,
  maxBufferBytes: 2 ** 32,
  maxWorkgroupBytes: 32768,
  maxWorkgroupThreads: 256,
  maxBindings: 16,
};

/** Counts allocations. */
export class MeasuringDevice implements Device {
  readonly kind = "cpu";
  readonly description = "nothing: memory is only counted";
  readonly onlyCounts = true;
  readonly keepsTimes = false;
  readonly limits: DeviceLimits;
  readonly features: DeviceFeatures;
  readonly counters: DeviceCounters = newCounters();
  readonly lost: Promise<LatentmeshError> = new Promise(() => {});

  constructor(limits: Partial<DeviceLimits> = {}, features: DeviceFeatures = PLAIN_FEATURES) {
    this.limits = { ...USUAL_LIMITS, ...limits };
    this.features = features;
  }

  createBuffer(label: string, bytes: number): DeviceBuffer {
    this.counters.allocatedBytes += bytes;
    return countedBuffer(label, bytes);
  }

  createReadback(_label: string, bytes: number): Promise<Readback> {
    const takeNow = (into = new Uint8Array(bytes)) => into;
    return Promise.resolve({ bytes, take: (into) => Promise.resolve(takeNow(into)), takeNow, destroy() {} });
  }

  createStaging(blockBytes: number, blocks: number): Staging {
    return new WrittenStaging(this, blockBytes, blocks);
  }

  write(): void {}
  flush(): void {}

  compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    return Promise.resolve({
      bind(buffers: Readonly<Record<B, DeviceBuffer>>, most: Params<P>): BoundKernel<P> {
        checkBindings(kernel, config, buffers, most);
        return { name: kernel.name, params: kernel.params };
      },
    });
  }

  run(): void {}
  read(): void {}
  submit(): void {}

  capture(record: () => void): Script {
    record();
    return { dispatches: 0 };
  }

  play(): boolean {
    return true;
  }

  anticipate(): void {}

  measure(record: () => void): Promise<number> {
    record();
    return Promise.resolve(0);
  }

  forgetTime(): void {}

  takeTime(): Promise<number> {
    return Promise.resolve(0);
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A buffer without memory. */
export function countedBuffer(label: string, bytes: number): DeviceBuffer {
  const buffer: DeviceBuffer = {
    label,
    bytes,
    view(offset, part) {
      checkView(buffer, offset, part);
      return countedBuffer(label, part);
    },
    destroy() {},
  };
  return buffer;
}
