/**
 * The compiled kernels and the threads that run them. The thread that calls takes part, and returns when a job is done.
 *
 * @module
 */
import fused from "./fused.base64" with { type: "text" };
import plain from "./plain.base64" with { type: "text" };
import { WASM_KERNELS } from "../../authoring/wasm_program.ts";
import { compilePacked } from "./packed_module.ts";
import type { Block, WasmMemory } from "./wasm_memory.ts";

/** What the modules export. */
export interface WasmExports {
  runAlone(kernel: number, args: number, pieces: number, scratch: number): void;
  runTogether(jobs: number, kernel: number, args: number, pieces: number, shares: number, scratch: number): void;
  serve(jobs: number, scratch: number): void;
}

/** What a thread is told first. */
export interface ThreadTask {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly jobs: number;
  readonly scratch: number;
}

/** Words of `Jobs` in pool.as, and where it says that threads are to end. */
const [JOBS_BYTES, JOB_WORD, STOPPED_WORD] = [64, 2, 9];

/** Multiplications below which a job is done alone: waking a thread that sleeps takes as long. */
const WORTH_SHARING = 30_000;
/** Shares for each thread into which what is left of a job is cut whenever one is taken. */
const SHARES = 2;

const modules = new Map<boolean, Promise<WebAssembly.Module>>();

/** The kernels, compiled once per process. */
export function kernelsModule(fuses: boolean): Promise<WebAssembly.Module> {
  return modules.getOrInsertComputed(fuses, () => compilePacked(fuses ? fused : plain));
}

/** Threads over one memory. */
export class WasmPool {
  readonly threads: number;
  readonly #memory: WasmMemory;
  readonly #module: WebAssembly.Module;
  readonly #exports: WasmExports;
  /** Of the threads that run now: who was stopped and has not noticed yet finds no job of theirs. */
  #jobs: Block | null = null;
  readonly #workers: Worker[] = [];
  #scratchBytes = 1 << 16;
  #scratch: Block;

  constructor(memory: WasmMemory, threads: number, module: WebAssembly.Module) {
    this.#memory = memory;
    this.threads = threads;
    this.#module = module;
    this.#exports = new WebAssembly.Instance(this.#module, { env: { memory: memory.memory } }).exports as unknown as WasmExports;
    this.#scratch = memory.allocate(this.#scratchBytes, "scratch");
  }

  /** Sees to it that this thread has so many bytes to work with, and those that are started later. */
  reserve(bytes: number): void {
    if (bytes <= this.#scratchBytes) return;
    this.#scratchBytes = bytes;
    this.#scratch = this.#memory.allocate(bytes, "scratch");
    // With less to work with than the job needs, they must not take part.
    this.#stop();
  }

  run(kernel: typeof WASM_KERNELS[number], args: number, pieces: number, work: number): void {
    if (pieces === 0) return;
    const index = WASM_KERNELS.indexOf(kernel);
    if (this.threads === 1 || pieces === 1 || pieces * work < WORTH_SHARING) {
      return this.#exports.runAlone(index, args, pieces, this.#scratch.address);
    }
    const jobs = this.#jobs ?? this.#start();
    this.#exports.runTogether(jobs.address, index, args, pieces, this.threads * SHARES, this.#scratch.address);
  }

  close(): void {
    this.#stop();
  }

  #start(): Block {
    const jobs = this.#jobs = this.#memory.allocate(JOBS_BYTES, "jobs");
    for (let i = 1; i < this.threads; i++) {
      const worker = new Worker(new URL("./thread.ts", import.meta.url), { type: "module" });
      const scratch = this.#memory.allocate(this.#scratchBytes, "scratch").address;
      worker.postMessage({ module: this.#module, memory: this.#memory.memory, jobs: jobs.address, scratch } satisfies ThreadTask);
      this.#workers.push(worker);
    }
    return jobs;
  }

  #stop(): void {
    if (this.#jobs === null) return;
    const words = new Int32Array(this.#memory.memory.buffer, this.#jobs.address, JOBS_BYTES / 4);
    Atomics.store(words, STOPPED_WORD, 1);
    Atomics.notify(words, JOB_WORD);
    for (const worker of this.#workers.splice(0)) worker.terminate();
    this.#jobs = null;
  }
}
