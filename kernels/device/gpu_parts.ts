/**
 * What a GPU device is made of: its options, buffers, bound kernels, scripts.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import type { Kernel, Params, Workgroups } from "../authoring/contract.ts";
import type { Command } from "./command_recorder.ts";
import type { DawnPolling } from "./dawn_polling.ts";
import {
  type BoundKernel,
  checkView,
  type DeviceBuffer,
  type DeviceCounters,
  type DeviceFeatures,
  type DeviceKind,
  type DeviceLimits,
  type Script,
  type StagingKind,
} from "./device.ts";
import type { UniformSlots } from "./uniform_ring.ts";

/** What a provider hands over; see `providers.ts`. */
export interface GpuDeviceOptions {
  readonly kind: Exclude<DeviceKind, "cpu">;
  readonly description: string;
  /** Dawn's; null where `getMappedRange` may be called before `mapAsync` has settled (`readback.ts`). */
  readonly polling: DawnPolling | null;
  /** Smaller limits than the adapter's, to exercise splitting. */
  readonly limits?: Partial<DeviceLimits>;
  readonly features: DeviceFeatures;
  /** Different parameters that one piece of a submission, and that scripts may have; by default a few thousand. */
  readonly uniforms?: UniformSlots;
  /** Whether passes are timed, if the device can. */
  readonly times?: boolean;
  /** `mapped` by default. */
  readonly staging?: StagingKind;
}

/** Where a buffer of ours, or a part of one, lies. */
export interface GpuPlace {
  readonly gpu: GPUBuffer;
  /** First byte. */
  readonly offset: number;
}

/** A buffer. */
export class GpuDeviceBuffer implements DeviceBuffer, GpuPlace {
  readonly label: string;
  readonly bytes: number;
  readonly gpu: GPUBuffer;
  /** Where it begins there: 0 unless it is a view. */
  readonly offset: number;
  readonly #counters: DeviceCounters;
  /** Whose memory is another's, and ends with that. */
  readonly #isView: boolean;
  #counted: number;

  /** @param offset of a view, which is not counted */
  constructor(label: string, bytes: number, gpu: GPUBuffer, counters: DeviceCounters, offset: number | null = null) {
    this.label = label;
    this.bytes = bytes;
    this.gpu = gpu;
    this.offset = offset ?? 0;
    this.#isView = offset !== null;
    this.#counters = counters;
    counters.allocatedBytes += this.#counted = offset === null ? bytes : 0;
  }

  /** What kernels bind. */
  get binding(): GPUBufferBinding {
    return { buffer: this.gpu, offset: this.offset, size: this.bytes };
  }

  view(offset: number, bytes: number): DeviceBuffer {
    checkView(this, offset, bytes);
    return new GpuDeviceBuffer(this.label, bytes, this.gpu, this.#counters, this.offset + offset);
  }

  destroy(): void {
    if (this.#isView) return;
    this.gpu.destroy();
    this.#counters.allocatedBytes -= this.#counted;
    this.#counted = 0;
  }
}

/** What shaders on devices with matrix units begin with. */
export const MATRIX_PRELUDE: string = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
`;

/** What a device allows. */
export function gpuLimits({ limits }: GPUDevice): DeviceLimits {
  return {
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    maxBufferBytes: limits.maxBufferSize,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupThreads: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
    maxBindings: limits.maxStorageBuffersPerShaderStage,
  };
}

/** Allocates a buffer. @throws {LatentmeshError} `out_of_memory` if it is larger than `most` bytes */
export function createGpuBuffer(
  gpu: GPUDevice,
  { label, bytes, most }: { readonly label: string; readonly bytes: number; readonly most: number },
  counters: DeviceCounters,
): DeviceBuffer {
  const size = roundUp(Math.max(bytes, 16), 16);
  if (size > most) throw new LatentmeshError("out_of_memory", `Cannot allocate ${size} bytes for ${label}: the device allows ${most} in one buffer`);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  return new GpuDeviceBuffer(label, size, gpu.createBuffer({ label, size, usage }), counters);
}

/** A kernel and its buffers. */
export interface GpuBound<P extends string> extends BoundKernel<P> {
  readonly most: Params<P>;
  readonly pipeline: GPUComputePipeline;
  /** With the uniform that begins at an offset. */
  groupAt(offset: number): GPUBindGroup;
  workgroups(params: Params<P>): Workgroups;
}

/** What would be recorded. */
export interface Anticipation {
  readonly commands: Command[];
  /** Whether the parameters of what follows do not fit beside those before: it would go out in pieces. */
  full: boolean;
}

/** What is captured. */
export interface Capture {
  readonly commands: Command[];
  work: number;
  /** Whether there is no room for its parameters beside those that others need. */
  full: boolean;
}

/** Commands that were captured. */
export class GpuScript implements Script {
  readonly commands: readonly Command[];
  /** Workgroups. */
  readonly work: number;
  /** Of the parameters that it needs. */
  readonly generation: number;

  constructor(commands: readonly Command[], work: number, generation: number) {
    this.commands = commands;
    this.work = work;
    this.generation = generation;
  }

  get dispatches(): number {
    return this.commands.length;
  }
}

/**
 * Bind groups of a kernel and its buffers, one for each place in which its uniform has been: a dynamic offset takes a third of what it costs to encode a
 * dispatch.
 */
const MOST_GROUPS = 128;

/** What is bound. */
export interface CompiledGpu<C, B extends string, P extends string> {
  readonly kernel: Kernel<C, B, P>;
  readonly config: C;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** Of its parameters, wherever they are placed. */
  readonly uniform: Omit<GPUBufferBinding, "offset">;
}

/** Binds buffers, which were checked. */
export function bindGpu<C, B extends string, P extends string>(
  gpu: GPUDevice,
  { kernel, config, pipeline, layout, uniform }: CompiledGpu<C, B, P>,
  buffers: Readonly<Record<B, DeviceBuffer>>,
  most: Params<P>,
): GpuBound<P> {
  const names = Object.keys(kernel.bindings) as B[];
  const entries = names.map((name, i) => ({ binding: i + 1, resource: (buffers[name] as DeviceBuffer as GpuDeviceBuffer).binding }));
  const create = (offset: number) => {
    const resource = { ...uniform, offset };
    return gpu.createBindGroup({ label: kernel.name, layout, entries: [{ binding: 0, resource }, ...entries] });
  };
  const groups = new Map<number, GPUBindGroup>();
  const groupAt = (offset: number) => {
    const known = groups.get(offset);
    if (known !== undefined) return known;
    if (groups.size === MOST_GROUPS) groups.clear();
    const group = create(offset);
    groups.set(offset, group);
    return group;
  };
  return { name: kernel.name, params: kernel.params, most, pipeline, groupAt, workgroups: (params) => kernel.workgroups(config, params) };
}
