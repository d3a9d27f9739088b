/**
 * Compiled pipelines, cached by their final source: kernels that come out alike are compiled once, whoever asks.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { DawnPolling, WaitKind } from "./dawn_polling.ts";

/** A pipeline; its layout depends only on the bindings, which the source implies. */
export interface CompiledPipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Pipelines of one device. */
export class PipelineCache {
  readonly #gpu: GPUDevice;
  readonly #description: string;
  readonly #waits: WaitKind | null;
  readonly #pipelines = new Map<string, Promise<CompiledPipeline>>();

  /**
   * @param description of the device, for errors
   * @param polling Dawn's, which compiling is waited for with
   */
  constructor(gpu: GPUDevice, description: string, polling: DawnPolling | null) {
    this.#gpu = gpu;
    this.#description = description;
    this.#waits = polling?.kind() ?? null;
  }

  /**
   * @param name of the kernel
   * @param access of its bindings, after the uniform
   * @throws {LatentmeshError} `internal` if it does not compile
   */
  async get(name: string, source: string, access: readonly ("read" | "read_write")[]): Promise<CompiledPipeline> {
    let pending = this.#pipelines.get(source);
    if (pending === undefined) {
      pending = this.#create(name, source, access);
      this.#pipelines.set(source, pending);
    }
    return await pending;
  }

  /** Resolves when nothing is being compiled. */
  get settled(): Promise<unknown> {
    return Promise.allSettled(this.#pipelines.values());
  }

  async #create(name: string, source: string, access: readonly ("read" | "read_write")[]): Promise<CompiledPipeline> {
    const gpu = this.#gpu;
    const storage = access.map((mode, i): GPUBindGroupLayoutEntry => ({
      binding: i + 1,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: mode === "read" ? "read-only-storage" : "storage" },
    }));
    const layout = gpu.createBindGroupLayout({
      label: name,
      entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } }, ...storage],
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
    const [made, scope] = await (this.#waits?.(0).until(settled) ?? settled);
    const failed: { readonly message: string } | null = scope.status === "rejected" ? scope.reason : scope.value;
    if (made.status === "fulfilled" && failed === null) return made.value;
    const { message } = failed ?? (made as PromiseRejectedResult).reason;
    throw new LatentmeshError("internal", `Cannot compile kernel ${name} on ${this.#description}: ${message}`);
  }
}
