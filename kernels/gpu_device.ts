/**
 * A device behind the WebGPU API, whoever provides it. Pipelines are cached by their final source, bind groups are made once, parameters of a whole
 * submission travel in one write, and a submission is one compute pass, encoded before it is asked for where that can be foreseen
 * (`command_recorder.ts`).
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../core/errors.ts";
import { roundUp } from "../core/numeric.ts";
import { type Command, CommandRecorder } from "./command_recorder.ts";
import { type Kernel, type Params, paramsDeclaration, type Workgroups } from "./contract.ts";
import type { DawnLooks, WaitKind } from "./dawn_looks.ts";
import {
  type BoundKernel,
  checkBindings,
  checkParams,
  checkWrite,
  type CompiledKernel,
  type Device,
  type DeviceBuffer,
  type DeviceCounters,
  type DeviceFeatures,
  type DeviceKind,
  type DeviceLimits,
  newCounters,
  type Readback,
} from "./device.ts";
import { PassTimer } from "./pass_timer.ts";
import { PassTimes } from "./pass_times.ts";
import { GpuReadback } from "./readback.ts";
import { UniformRing } from "./uniform_ring.ts";

class GpuDeviceBuffer implements DeviceBuffer {
  readonly label: string;
  readonly bytes: number;
  readonly gpu: GPUBuffer;

  constructor(label: string, bytes: number, gpu: GPUBuffer) {
    this.label = label;
    this.bytes = bytes;
    this.gpu = gpu;
  }

  destroy(): void {
    this.gpu.destroy();
  }
}

interface GpuBound<P extends string> extends BoundKernel<P> {
  readonly most: Params<P>;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  workgroups(params: Params<P>): Workgroups;
}

/** Pipelines under one source; layouts depend only on the bindings, which the source implies. */
interface CompiledPipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** What a provider hands over; see `providers.ts`. */
export interface GpuDeviceOptions {
  readonly kind: Exclude<DeviceKind, "cpu">;
  readonly description: string;
  /** Dawn's; null where `getMappedRange` may be called before `mapAsync` has settled (`readback.ts`). */
  readonly looks: DawnLooks | null;
  /** Smaller limits than the adapter's, to exercise splitting. */
  readonly limits?: Partial<DeviceLimits>;
  readonly features: DeviceFeatures;
  /** Whether passes are timed, if the device can. */
  readonly times?: boolean;
}

/** What shaders on devices with matrix units begin with. */
const MATRIX_PRELUDE = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
`;

/** A WebGPU device. */
export class GpuDevice implements Device {
  readonly kind: DeviceKind;
  readonly description: string;
  readonly limits: DeviceLimits;
  readonly features: DeviceFeatures;
  readonly counters: DeviceCounters = newCounters();
  readonly lost: Promise<LatentmeshError>;
  readonly #lost = Promise.withResolvers<LatentmeshError>();
  readonly #gpu: GPUDevice;
  readonly #options: GpuDeviceOptions;
  readonly #pipelines = new Map<string, Promise<CompiledPipeline>>();
  readonly #uniforms: UniformRing;
  readonly #recorder: CommandRecorder;
  readonly #readbacks: GpuReadback[] = [];
  readonly #waits: WaitKind | null;
  readonly #waitsForCompiler: WaitKind | null;
  /** Workgroups that were recorded since something was last waited for. */
  #work = 0;
  readonly #times: PassTimes | null;
  #timer: PassTimer | null = null;
  #failure: LatentmeshError | null = null;
  #closed = false;

  constructor(gpu: GPUDevice, options: GpuDeviceOptions) {
    this.#gpu = gpu;
    this.#options = options;
    this.kind = options.kind;
    this.description = options.description;
    this.features = options.features;
    this.limits = {
      maxBindingBytes: gpu.limits.maxStorageBufferBindingSize,
      maxBufferBytes: gpu.limits.maxBufferSize,
      maxWorkgroupBytes: gpu.limits.maxComputeWorkgroupStorageSize,
      maxBindings: gpu.limits.maxStorageBuffersPerShaderStage,
      ...options.limits,
    };
    this.#uniforms = new UniformRing(gpu);
    this.#times = options.times === true && gpu.features.has("timestamp-query") ? new PassTimes(gpu) : null;
    this.#recorder = new CommandRecorder(gpu, this.#times);
    this.#waits = options.looks?.kind() ?? null;
    this.#waitsForCompiler = options.looks?.kind() ?? null;
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#fail(deviceError(options.kind, (event as GPUUncapturedErrorEvent).error));
    });
    this.lost = this.#lost.promise;
    gpu.lost.then((info) => {
      // `destroy` also settles this promise; a device we closed ourselves is not lost.
      if (this.#closed) return;
      this.#fail(new LatentmeshError("device_lost", `The ${options.kind} device (${options.description}) was lost: ${info.message || info.reason}`));
    });
  }

  createBuffer(label: string, bytes: number): DeviceBuffer {
    this.#check();
    const size = roundUp(Math.max(bytes, 16), 16);
    if (size > this.limits.maxBufferBytes) {
      throw new LatentmeshError(
        "out_of_memory",
        `Cannot allocate ${size} bytes for ${label}: the device allows ${this.limits.maxBufferBytes} in one buffer`,
      );
    }
    const gpu = this.#gpu.createBuffer({ label, size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC });
    this.counters.allocatedBytes += size;
    return new GpuDeviceBuffer(label, size, gpu);
  }

  async createReadback(label: string, bytes: number): Promise<Readback> {
    this.#check();
    const readback = await GpuReadback.create(
      this.#gpu,
      label,
      roundUp(bytes, 16),
      this.counters,
      this.#options.looks,
      () => this.#failure,
    );
    this.#readbacks.push(readback);
    return readback;
  }

  write(buffer: DeviceBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    checkWrite(buffer, offset, data);
    this.#gpu.queue.writeBuffer((buffer as GpuDeviceBuffer).gpu, offset, data.buffer, data.byteOffset, data.byteLength);
  }

  async compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    const source = (this.features.matrixUnits ? MATRIX_PRELUDE : "") + paramsDeclaration(kernel.params) + kernel.wgsl(config);
    let pending = this.#pipelines.get(source);
    if (pending === undefined) {
      pending = this.#createPipeline(kernel.name, source, Object.values(kernel.bindings));
      this.#pipelines.set(source, pending);
    }
    const { pipeline, layout } = await pending;
    const names = Object.keys(kernel.bindings) as B[];
    return {
      bind: (buffers, most): GpuBound<P> => {
        checkBindings(kernel, config, buffers, most);
        const entries = names.map((name, i) => ({ binding: i + 1, resource: { buffer: (buffers[name] as DeviceBuffer as GpuDeviceBuffer).gpu } }));
        const group = this.#gpu.createBindGroup({
          label: kernel.name,
          layout,
          entries: [{ binding: 0, resource: this.#uniforms.binding(kernel.params.length) }, ...entries],
        });
        return { name: kernel.name, params: kernel.params, most, pipeline, group, workgroups: (params) => kernel.workgroups(config, params) };
      },
    };
  }

  run<P extends string>(bound: BoundKernel<P>, params: Params<P>): void {
    const kernel = bound as GpuBound<P>;
    checkParams(kernel.name, kernel.params, params, kernel.most);
    const [x, y, z] = kernel.workgroups(params);
    if (x === 0 || y === 0 || z === 0) return;
    const offset = this.#uniforms.place(kernel.params, params);
    this.#record({ pipeline: kernel.pipeline, group: kernel.group, offset, x, y, z });
    this.counters.dispatches++;
    this.#work += x * y * z;
  }

  read(readback: Readback, buffer: DeviceBuffer, offset: number, bytes: number): void {
    this.#record((readback as GpuReadback).copyOf((buffer as GpuDeviceBuffer).gpu, offset, bytes, this.#takeWork()));
  }

  submit(): void {
    this.#check();
    const finished = this.#recorder.finish();
    if (finished === null) return;
    if (finished.buffer !== null) this.#submit(finished.buffer);
    this.#uniforms.clear();
    this.counters.submissions++;
    if (finished.ahead) this.counters.submissionsAhead++;
    const started = performance.now();
    this.#recorder.encodeAhead();
    this.counters.encodeMs += performance.now() - started;
  }

  async measure(record: () => void): Promise<number> {
    this.submit();
    this.#timer ??= this.#gpu.features.has("timestamp-query")
      ? await PassTimer.create(this.#gpu, this.counters, this.#options.looks, () => this.#failure)
      : null;
    if (this.#timer === null) {
      await this.settle();
      const started = performance.now();
      record();
      this.submit();
      await this.settle();
      return performance.now() - started;
    }
    const timer = this.#timer;
    this.#submit(this.#recorder.encodeOne({ timestampWrites: timer.writes }, record, (encoder) => timer.resolve(encoder, this.#takeWork())));
    this.#uniforms.clear();
    return await timer.milliseconds();
  }

  get keepsTimes(): boolean {
    return this.#times !== null;
  }

  forgetTime(): void {
    this.#times?.forget();
  }

  async takeTime(): Promise<number> {
    if (this.#times === null) return 0;
    this.submit();
    return await this.#times.take(this.counters, this.#options.looks, () => this.#failure);
  }

  async settle(): Promise<void> {
    // Even an empty submission carries pending writes to the device.
    this.#gpu.queue.submit([]);
    const done = this.#gpu.queue.onSubmittedWorkDone();
    await (this.#waits?.(this.#takeWork()).until(done) ?? done);
    this.#check();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#pipelines.values(), ...this.#readbacks.map((readback) => readback.settled), this.#timer?.settled]);
    await this.#times?.settled;
    this.#timer?.destroy();
    this.#times?.destroy();
    this.#gpu.destroy();
  }

  #fail(error: LatentmeshError): void {
    if (this.#closed) return;
    this.#failure ??= error;
    this.#lost.resolve(this.#failure);
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #takeWork(): number {
    const work = this.#work;
    this.#work = 0;
    return work;
  }

  #record(command: Command): void {
    const piece = this.#recorder.add(command);
    if (piece !== null) this.#submit(piece);
  }

  #submit(buffer: GPUCommandBuffer): void {
    const started = performance.now();
    this.#uniforms.flush();
    this.#gpu.queue.submit([buffer]);
    this.counters.submitMs += performance.now() - started;
    this.#times?.submitted(buffer);
  }

  async #createPipeline(name: string, source: string, access: readonly ("read" | "read_write")[]): Promise<CompiledPipeline> {
    const gpu = this.#gpu;
    const storage = access.map((mode, i): GPUBindGroupLayoutEntry => ({
      binding: i + 1,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: mode === "read" ? "read-only-storage" : "storage" },
    }));
    const layout = gpu.createBindGroupLayout({
      label: name,
      entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform", hasDynamicOffset: true } }, ...storage],
    });
    // One after the other: a device that does not validate crashes on a pipeline of a module with errors.
    const module = await this.#checked(name, () => gpu.createShaderModule({ label: name, code: source }));
    const pipeline = await this.#checked(name, () =>
      gpu.createComputePipelineAsync({
        label: name,
        layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: "main" },
      }));
    return { pipeline, layout };
  }

  /** What is wrong ends in the error scope or, of pipelines that Dawn makes, in their promise. */
  async #checked<T>(name: string, create: () => T | Promise<T>): Promise<T> {
    this.#gpu.pushErrorScope("validation");
    const settled = Promise.allSettled([create(), this.#gpu.popErrorScope()]);
    const [made, scope] = await (this.#waitsForCompiler?.(0).until(settled) ?? settled);
    const failed: { readonly message: string } | null = scope.status === "rejected" ? scope.reason : scope.value;
    if (made.status === "fulfilled" && failed === null) return made.value;
    const { message } = failed ?? (made as PromiseRejectedResult).reason;
    throw new LatentmeshError("internal", `Cannot compile kernel ${name} on ${this.description}: ${message}`);
  }
}

function deviceError(kind: string, error: GPUError): LatentmeshError {
  // By name: Dawn's error classes are not the global ones.
  return error.constructor.name === "GPUOutOfMemoryError"
    ? new LatentmeshError(
      "out_of_memory",
      `The ${kind} device is out of memory: ${messageOf(error)} (try --weights q8 or q4, or a smaller --max-tokens-total)`,
    )
    : new LatentmeshError("internal", `The ${kind} device refused a command: ${error.message}`);
}
