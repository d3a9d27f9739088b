/**
 * A device that remembers what was run on another, so that it can be run again kernel by kernel.
 *
 * @module
 */
import type { LatentmeshError } from "../../core/errors.ts";
import { type BesideConfig, isBeside } from "../../kernels/device/beside.ts";
import type { Kernel, Params } from "../../kernels/authoring/contract.ts";
import type {
  BoundKernel,
  CompiledKernel,
  Device,
  DeviceBuffer,
  DeviceCounters,
  DeviceFeatures,
  DeviceKind,
  DeviceLimits,
  Readback,
  Script,
  Staging,
} from "../../kernels/device/device.ts";

/** One run of a kernel. */
export interface Dispatch {
  // Kernels of every type stand in one list; costs.ts looks at them by name.
  readonly kernel: Kernel<unknown, string, string>;
  readonly config: unknown;
  readonly params: Params<string>;
  readonly bound: BoundKernel<string>;
}

/** Both halves of a dispatch that is two kernels side by side; null of any other. */
export function sidesOf({ kernel, config, params, bound }: Dispatch): Dispatch[] | null {
  if (!isBeside(kernel)) return null;
  return (["first", "second"] as const).map((side) => ({
    kernel: kernel[side],
    config: (config as BesideConfig<unknown, unknown>)[side],
    params: Object.fromEntries(kernel[side].params.map((name) => [name, params[`${side}_${name}`]])),
    bound,
  }));
}

/** Passes everything on. */
export class TracingDevice implements Device {
  /** What was run since {@link take} was last called. */
  #dispatches: Dispatch[] = [];
  readonly #origin = new WeakMap<object, Pick<Dispatch, "kernel" | "config">>();
  readonly #device: Device;
  readonly #scripts = new WeakMap<Script, readonly Dispatch[]>();
  #captured: Dispatch[] | null = null;
  #anticipating = false;

  constructor(device: Device) {
    this.#device = device;
  }

  /** What was run since this was last called. */
  take(): readonly Dispatch[] {
    const dispatches = this.#dispatches;
    this.#dispatches = [];
    return dispatches;
  }

  get kind(): DeviceKind {
    return this.#device.kind;
  }

  get description(): string {
    return this.#device.description;
  }

  get limits(): DeviceLimits {
    return this.#device.limits;
  }

  get features(): DeviceFeatures {
    return this.#device.features;
  }

  get counters(): DeviceCounters {
    return this.#device.counters;
  }

  get lost(): Promise<LatentmeshError> {
    return this.#device.lost;
  }

  createBuffer(label: string, bytes: number): DeviceBuffer {
    return this.#device.createBuffer(label, bytes);
  }

  createReadback(label: string, bytes: number): Promise<Readback> {
    return this.#device.createReadback(label, bytes);
  }

  createStaging(blockBytes: number, blocks: number): Staging {
    return this.#device.createStaging(blockBytes, blocks);
  }

  write(buffer: DeviceBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    this.#device.write(buffer, offset, data);
  }

  flush(): void {
    this.#device.flush();
  }

  async compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    const compiled = await this.#device.compile(kernel, config);
    return {
      bind: (buffers, most) => {
        const bound = compiled.bind(buffers, most);
        this.#origin.set(bound, { kernel: kernel as unknown as Dispatch["kernel"], config });
        return bound;
      },
    };
  }

  run<P extends string>(bound: BoundKernel<P>, params: Params<P>): void {
    // Whoever runs it may use the same object for other parameters next.
    const dispatch = () => ({ ...this.#origin.get(bound)!, params: { ...params }, bound: bound as unknown as BoundKernel<string> });
    if (this.#captured !== null) this.#captured.push(dispatch());
    else if (!this.#anticipating) this.#dispatches.push(dispatch());
    this.#device.run(bound, params);
  }

  read(readback: Readback, buffer: DeviceBuffer, offset: number, bytes: number): void {
    this.#device.read(readback, buffer, offset, bytes);
  }

  capture(record: () => void): Script {
    let captured: Dispatch[] = [];
    const script = this.#device.capture(() => {
      // It may be called twice.
      captured = this.#captured = [];
      try {
        record();
      } finally {
        this.#captured = null;
      }
    });
    this.#scripts.set(script, captured);
    return script;
  }

  play(script: Script): boolean {
    const played = this.#device.play(script);
    if (played && !this.#anticipating) this.#dispatches.push(...this.#scripts.get(script)!);
    return played;
  }

  submit(): void {
    this.#device.submit();
  }

  anticipate(record: () => void): void {
    this.#device.anticipate(() => {
      this.#anticipating = true;
      try {
        record();
      } finally {
        this.#anticipating = false;
      }
    });
  }

  get keepsTimes(): boolean {
    return this.#device.keepsTimes;
  }

  forgetTime(): void {
    this.#device.forgetTime();
  }

  takeTime(): Promise<number> {
    return this.#device.takeTime();
  }

  measure(record: () => void): Promise<number> {
    return this.#device.measure(record);
  }

  settle(): Promise<void> {
    return this.#device.settle();
  }

  close(): Promise<void> {
    return this.#device.close();
  }
}
