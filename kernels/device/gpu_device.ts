/**
 * A device behind the WebGPU API, whoever provides it. Pipelines are cached by their final source, bind groups are kept, parameters of a whole
 * submission travel in one write, and a submission is one compute pass, encoded before it is asked for where it is anticipated (`command_recorder.ts`).
 *
 * @module
 */
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import { type Command, CommandRecorder } from "./command_recorder.ts";
import { type Kernel, type Params, paramsDeclaration, type Workgroups } from "../authoring/contract.ts";
import type { WaitKind } from "./dawn_polling.ts";
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
  type Script,
  type Staging,
} from "./device.ts";
import {
  type Anticipation,
  bindGpu,
  type Capture,
  createGpuBuffer,
  type GpuBound,
  GpuDeviceBuffer,
  type GpuDeviceOptions,
  gpuLimits,
  GpuScript,
  MATRIX_PRELUDE,
} from "./gpu_parts.ts";
import { PipelineCache } from "./pipeline_cache.ts";
import { PassTimer } from "./pass_timer.ts";
import { PassTimes } from "./pass_times.ts";
import { GpuReadback } from "./readback.ts";
import { MappedStaging } from "./staging/mapped_staging.ts";
import { WrittenStaging } from "./staging/written_staging.ts";
import { GpuHealth } from "./gpu_health.ts";
import { UniformRing } from "./uniform_ring.ts";

/** A WebGPU device. */
export class GpuDevice implements Device {
  readonly kind: DeviceKind;
  readonly description: string;
  readonly limits: DeviceLimits;
  readonly features: DeviceFeatures;
  readonly counters: DeviceCounters = newCounters();
  readonly lost: Promise<LatentmeshError>;
  readonly #gpu: GPUDevice;
  readonly #health: GpuHealth;
  readonly #options: GpuDeviceOptions;
  readonly #pipelines: PipelineCache;
  readonly #uniforms: UniformRing;
  readonly #recorder: CommandRecorder;
  readonly #readbacks: GpuReadback[] = [];
  readonly #waits: WaitKind | null;
  /** Workgroups that were recorded since something was last waited for. */
  #work = 0;
  readonly #times: PassTimes | null;
  #anticipation: Anticipation | null = null;
  #capture: Capture | null = null;
  /** Goes up when scripts are forgotten. */
  #generation = 0;
  #measuring = false;
  #timer: PassTimer | null = null;

  constructor(gpu: GPUDevice, options: GpuDeviceOptions) {
    this.#gpu = gpu;
    this.#options = options;
    this.kind = options.kind;
    this.description = options.description;
    this.features = options.features;
    this.limits = { ...gpuLimits(gpu), ...options.limits };
    this.#pipelines = new PipelineCache(gpu, options.description, options.polling);
    this.#uniforms = new UniformRing(gpu, options.uniforms);
    this.#times = options.times === true && gpu.features.has("timestamp-query") ? new PassTimes(gpu) : null;
    this.#recorder = new CommandRecorder(gpu, this.#times);
    this.#waits = options.polling?.kind() ?? null;
    this.#health = new GpuHealth(gpu, options);
    this.lost = this.#health.lost;
  }

  createBuffer(label: string, bytes: number): DeviceBuffer {
    this.#health.check();
    return createGpuBuffer(this.#gpu, { label, bytes, most: this.limits.maxBufferBytes }, this.counters);
  }

  async createReadback(label: string, bytes: number): Promise<Readback> {
    this.#health.check();
    const readback = await GpuReadback.create(
      this.#gpu,
      label,
      roundUp(bytes, 16),
      this.counters,
      this.#options.polling,
      () => this.#health.failure,
    );
    this.#readbacks.push(readback);
    return readback;
  }

  createStaging(blockBytes: number, blocks: number): Staging {
    this.#health.check();
    if (this.#options.staging === "written") return new WrittenStaging(this, blockBytes, blocks);
    const gpuOf = (buffer: DeviceBuffer) => buffer as GpuDeviceBuffer;
    return new MappedStaging({ gpu: this.#gpu, polling: this.#options.polling, gpuOf, failure: () => this.#health.failure }, blockBytes, blocks);
  }

  write(buffer: DeviceBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    invariant(this.#capture === null, "what is captured does nothing but run kernels");
    if (this.#anticipation !== null) return;
    checkWrite(buffer, offset, data);
    const { gpu, offset: start } = buffer as GpuDeviceBuffer;
    this.#gpu.queue.writeBuffer(gpu, start + offset, data.buffer, data.byteOffset, data.byteLength);
  }

  flush(): void {
    // Even an empty submission carries pending writes to the device.
    this.#gpu.queue.submit([]);
  }

  async compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    const source = (this.features.matrixUnits ? MATRIX_PRELUDE : "") + paramsDeclaration(kernel.params) + kernel.wgsl(config);
    const compiled = await this.#pipelines.get(kernel.name, source, Object.values(kernel.bindings));
    const uniform = this.#uniforms.binding(kernel.params.length);
    return {
      bind: (buffers, most) => {
        checkBindings(kernel, config, buffers, most);
        return bindGpu(this.#gpu, { kernel, config, ...compiled, uniform }, buffers, most);
      },
    };
  }

  run<P extends string>(bound: BoundKernel<P>, params: Params<P>): void {
    const kernel = bound as GpuBound<P>;
    checkParams(kernel.name, kernel.params, params, kernel.most);
    const [x, y, z] = kernel.workgroups(params);
    if (x === 0 || y === 0 || z === 0) return;
    if (this.#capture !== null) return this.#captureRun(this.#capture, kernel, params, [x, y, z]);
    const offset = this.#uniforms.place(kernel.params, params) ?? this.#placeInNextPiece(kernel.params, params);
    if (this.#anticipation === null) {
      this.counters.dispatches++;
      this.#work += x * y * z;
    }
    this.#record({ pipeline: kernel.pipeline, group: kernel.groupAt(offset), x, y, z });
  }

  read(readback: Readback, buffer: DeviceBuffer, offset: number, bytes: number): void {
    invariant(this.#capture === null, "what is captured does nothing but run kernels");
    const target = readback as GpuReadback;
    if (this.#anticipation === null) target.expect(bytes, this.#takeWork());
    this.#record(target.copyOf(buffer as GpuDeviceBuffer, offset, bytes));
  }

  capture(record: () => void): Script {
    const capture = this.#takeDown(record);
    if (!capture.full) return new GpuScript(capture.commands, capture.work, this.#generation);
    this.#forgetScripts();
    const again = this.#takeDown(record);
    if (again.full) throw new LatentmeshError("internal", "Cannot capture so many different parameters");
    return new GpuScript(again.commands, again.work, this.#generation);
  }

  play(script: Script): boolean {
    const { commands, work, generation } = script as GpuScript;
    if (generation !== this.#generation) return false;
    if (this.#anticipation === null) {
      this.counters.dispatches += commands.length;
      this.#work += work;
    }
    for (const command of commands) this.#record(command);
    return true;
  }

  submit(): void {
    if (this.#anticipation !== null) return;
    this.#health.check();
    const finished = this.#recorder.finish();
    if (finished === null) return;
    if (finished.buffer !== null) this.#submit(finished.buffer);
    this.#uniforms.clear();
    this.counters.submissions++;
    if (finished.foreseen === true) this.counters.submissionsAhead++;
    if (finished.foreseen === false) this.counters.submissionsUnforeseen++;
  }

  anticipate(record: () => void): void {
    if (this.#recorder.begun || this.#health.failure !== null) return;
    const started = performance.now();
    const anticipation: Anticipation = { commands: [], full: false };
    this.#anticipation = anticipation;
    try {
      record();
    } finally {
      this.#anticipation = null;
      // The same parameters will be placed again, in the same order.
      this.#uniforms.clear();
    }
    this.#recorder.expect(anticipation.commands);
    this.counters.encodeMs += performance.now() - started;
  }

  async measure(record: () => void): Promise<number> {
    this.submit();
    this.#timer ??= this.#gpu.features.has("timestamp-query")
      ? await PassTimer.create(this.#gpu, this.counters, this.#options.polling, () => this.#health.failure)
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
    this.#measuring = true;
    try {
      this.#submit(this.#recorder.encodeOne({ timestampWrites: timer.writes }, record, (encoder) => timer.resolve(encoder, this.#takeWork())));
    } finally {
      this.#measuring = false;
      this.#uniforms.clear();
    }
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
    return await this.#times.take(this.counters, this.#options.polling, () => this.#health.failure);
  }

  async settle(): Promise<void> {
    this.flush();
    const done = this.#gpu.queue.onSubmittedWorkDone();
    await (this.#waits?.(this.#takeWork()).until(done) ?? done);
    this.#health.check();
  }

  async close(): Promise<void> {
    this.#health.closing();
    await Promise.allSettled([this.#pipelines.settled, ...this.#readbacks.map((readback) => readback.settled), this.#timer?.settled]);
    await this.#times?.settled;
    this.#timer?.destroy();
    this.#times?.destroy();
    this.#gpu.destroy();
  }

  #takeWork(): number {
    const work = this.#work;
    this.#work = 0;
    return work;
  }

  #takeDown(record: () => void): Capture {
    const capture: Capture = { commands: [], work: 0, full: false };
    this.#capture = capture;
    try {
      record();
    } finally {
      this.#capture = null;
    }
    return capture;
  }

  #captureRun<P extends string>(capture: Capture, { params: keys, pipeline, groupAt }: GpuBound<P>, params: Params<P>, [x, y, z]: Workgroups): void {
    const offset = this.#uniforms.keep(keys, params);
    if (offset === null) capture.full = true;
    else capture.commands.push({ pipeline, group: groupAt(offset), x, y, z });
    capture.work += x * y * z;
  }

  /** Makes room for the parameters of other scripts; what was recorded or is expected needs those that are there. */
  #forgetScripts(): void {
    if (this.#anticipation !== null) this.#anticipation.full = true;
    else {
      const piece = this.#recorder.cut();
      if (piece !== null) this.#submit(piece);
    }
    this.#recorder.unexpect();
    this.#uniforms.forget();
    this.#generation++;
  }

  /** Makes room by submitting what came so far. */
  #placeInNextPiece<P extends string>(keys: readonly P[], params: Params<P>): number {
    if (this.#measuring) throw new LatentmeshError("internal", "Cannot measure so many different parameters in one pass");
    if (this.#anticipation !== null) this.#anticipation.full = true;
    else {
      const piece = this.#recorder.cut();
      if (piece !== null) this.#submit(piece);
    }
    this.#uniforms.clear();
    return this.#uniforms.place(keys, params)!;
  }

  #record(command: Command): void {
    if (this.#anticipation !== null) {
      if (!this.#anticipation.full) this.#anticipation.commands.push(command);
      return;
    }
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
}
