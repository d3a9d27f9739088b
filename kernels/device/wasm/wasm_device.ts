/**
 * The host's processors, by kernels compiled to WebAssembly with SIMD, in as many threads as there are cores; what is not compiled is its reference.
 *
 * @module
 */
import { type BesideConfig, isBeside } from "../beside.ts";
import type { HostBuffer, Kernel, Params } from "../../authoring/contract.ts";
import { CpuBound, CpuDevice, type HostMemory } from "../cpu_device.ts";
import { checkBindings, type CompiledKernel, type DeviceBuffer, type DeviceKind, type DeviceLimits } from "../device.ts";
import { byteDots } from "./byte_dots.ts";
import { fuses } from "./fuses.ts";
import { kernelsModule, WasmPool } from "./pool.ts";
import type { ByteDots, WasmArguments, WasmBinding, WasmProgram, WorkingPart } from "../../authoring/wasm_program.ts";
import { WasmMemory } from "./wasm_memory.ts";

/** Options of a {@link WasmDevice}. */
export interface WasmOptions {
  /** Smaller limits than the host's, to exercise splitting. */
  readonly limits?: Partial<DeviceLimits>;
  /** Whether `takeTime` is going to be asked. */
  readonly times?: boolean;
  /** Threads that compute, the caller's among them; as many as the host has cores if absent. */
  readonly threads?: number;
  /** Whether a · b + c is rounded once; as the processor can if absent. */
  readonly fma?: boolean;
  /** Whether V8 was started with what makes vectors of eight floats (core/wide_kernels.ts), which changes no bit. */
  readonly wide?: boolean;
  /** How bytes are multiplied, which changes no bit; as the processor can if absent. */
  readonly byteDots?: ByteDots;
}

/** The device `wasm`. */
export class WasmDevice extends CpuDevice {
  override readonly kind: DeviceKind = "wasm";
  override readonly description: string;
  readonly #memory = new WasmMemory();
  readonly #pool: WasmPool;
  readonly #byteDots: ByteDots;
  readonly #wide: boolean;
  /** The largest so far; smaller ones before it are still those of whoever was bound to them. */
  readonly #working = new Map<WorkingPart, WasmArguments>();

  private constructor(module: WebAssembly.Module, fma: boolean, options: WasmOptions) {
    const { limits = {}, times = false, threads = navigator.hardwareConcurrency } = options;
    super(limits, times);
    this.#wide = options.wide ?? false;
    this.#byteDots = options.byteDots === undefined ? byteDots() : options.byteDots;
    this.#pool = new WasmPool(this.#memory, threads, module);
    // Not how many threads there are, which changes no bit: ranks of a group on hosts of different sizes go together.
    this.description = fma ? "WebAssembly kernels" : "WebAssembly kernels without fused multiplication";
  }

  /** Compiles the kernels, if no device of this process has yet. */
  static async open(options: WasmOptions = {}): Promise<WasmDevice> {
    const { fma = fuses() } = options;
    return new WasmDevice(await kernelsModule(fma), fma, options);
  }

  protected override allocate(label: string, bytes: number): HostMemory {
    const block = this.#memory.allocate(bytes, label);
    return { views: this.#memory.views(block, bytes), free: () => this.#memory.free(block) };
  }

  override compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    const program = programOf(kernel, config);
    if (program === null) return super.compile(kernel, config);
    return Promise.resolve({
      bind: (buffers, most) => {
        checkBindings(kernel, config, buffers, most);
        return new CpuBound(kernel.name, kernel.params, most, program(this.#bindingOf(buffers, most)));
      },
    });
  }

  override close(): Promise<void> {
    this.#pool.close();
    return super.close();
  }

  #words(words: number, label: string): WasmArguments {
    const block = this.#memory.allocate(words * 4, label);
    const { u32, f32 } = this.#memory.views(block, words * 4);
    return { address: block.address, u32, f32 };
  }

  #bindingOf<B extends string, P extends string>(buffers: Readonly<Record<B, DeviceBuffer>>, most: Params<P>): WasmBinding<B, P> {
    const views = buffers as unknown as Readonly<Record<B, HostBuffer>>;
    const names = Object.keys(buffers) as B[];
    return {
      at: Object.fromEntries(names.map((name) => [name, views[name].u8.byteOffset])) as Record<B, number>,
      views,
      most,
      byteDots: this.#byteDots,
      wide: this.#wide,
      allocate: (words) => this.#words(words, "arguments"),
      share: (part, words) => {
        const known = this.#working.get(part);
        const working = known !== undefined && known.u32.length >= words ? known : this.#words(words, part);
        this.#working.set(part, working);
        return { address: working.address, u32: working.u32.subarray(0, words), f32: working.f32.subarray(0, words) };
      },
      reserve: (bytes) => this.#pool.reserve(bytes),
      call: (name, { address }, pieces, work) => this.#pool.run(name, address, pieces, work),
    };
  }
}

/** How a kernel runs; null if none of it is compiled. Two that run beside each other run one after the other. */
function programOf<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): WasmProgram<B, P> | null {
  const whole = kernel as unknown as Kernel<unknown, string, string>;
  if (!isBeside(whole)) return kernel.wasm?.(config) ?? null;
  const { first, second } = config as BesideConfig<unknown, unknown>;
  const [one, other] = [sideOf(whole.first, first), sideOf(whole.second, second)];
  return (binding: WasmBinding<string, string>) => {
    const runs = ([["first", one], ["second", other]] as const).map(([side, { kernel, program }]) => {
      const names = Object.keys(kernel.bindings);
      const pick = <T>(from: Readonly<Record<string, T>>, keys: readonly string[], as: (key: string) => string) =>
        Object.fromEntries(keys.map((key) => [key, from[as(key)]]));
      const bound = (name: string) => whole.boundAs(side, name);
      const run = program({
        ...binding,
        at: pick(binding.at, names, bound),
        views: pick(binding.views, names, bound),
        most: pick(binding.most, kernel.params, (key) => `${side}_${key}`),
      });
      return (params: Params<string>) => run(pick(params, kernel.params, (key) => `${side}_${key}`));
    });
    return (params) => runs.forEach((run) => run(params));
  };
}

/** One of two, by its reference if it is not compiled. */
function sideOf(kernel: Kernel<unknown, string, string>, config: unknown) {
  const reference: WasmProgram<string, string> = ({ views }) => (params) => kernel.reference(config, views, params);
  return { kernel, program: programOf(kernel, config) ?? reference };
}
