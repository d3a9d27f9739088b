/**
 * Which devices there are.
 *
 * @module
 */

/** What computes: `wasm` and `cpu` are the host's processors, by compiled kernels and by plain TypeScript; `deno` and `dawn` are GPUs through WebGPU. */
export type DeviceKind = "wasm" | "deno" | "dawn" | "cpu";

/** What `--device` takes. */
export type DeviceChoice = "auto" | "wasm" | "deno" | "dawn" | "cpu";

/** All of them. */
export const DEVICE_KINDS = ["wasm", "deno", "dawn", "cpu"] as const satisfies readonly DeviceKind[];

/** All that can be chosen. */
export const DEVICE_CHOICES = ["auto", ...DEVICE_KINDS] as const satisfies readonly DeviceChoice[];

/** What `--help` says of them. */
export const DEVICE_HELP =
  "auto takes a hardware GPU if there is one, else the processor (wasm); deno and dawn are GPUs through Deno's WebGPU and Dawn's; cpu is plain TypeScript, to compare with";

/** How a device is to be used. */
export interface DeviceTuning {
  /** Whether passes are timed on the device. */
  readonly times?: boolean;
  /** Threads of `wasm`; as many as there are cores if absent. */
  readonly threads?: number;
  /** Whether `wasm` may round a · b + c once; as the processor can if absent. */
  readonly fma?: boolean;
  /** Whether V8 was started with what makes `wasm` quicker (core/wide_kernels.ts), or may be; a device is told. */
  readonly wide?: boolean;
}

/** Whether a device is the host's processors and memory. */
export function isHost(kind: DeviceKind): boolean {
  return kind === "cpu" || kind === "wasm";
}

/** Precision in which latents are cached unless somebody asks for another: processors compute in f32 anyway, GPUs read half as much of f16. */
export function cacheDtypeOf(kind: DeviceKind): "f16" | "f32" {
  return isHost(kind) ? "f32" : "f16";
}

/** Whether the device that was chosen may have matrix units: only Dawn offers them, and `auto` takes it where it does. */
export function mayHaveMatrixUnits(choice: DeviceChoice): boolean {
  return choice === "auto" || choice === "dawn";
}

/** Whether what was chosen is; `auto` may turn out to be. */
export function isHostChoice(choice: DeviceChoice): boolean {
  return choice !== "auto" && isHost(choice);
}

/** What a WebAssembly memory has at most. */
export const WASM_MEMORY_BYTES = 2 ** 32;
/** What to do where that is not enough. @param weights as they are kept, if that is known: what is done already is no advice */
export function wasmAdvice(weights?: string): string {
  const fewer = weights === "q4" ? "" : "--weights q4, ";
  return `use ${fewer}a smaller cache (--max-tokens-total, --cache-memory), or more workers to share the model (--ranks, --prefill-ranks)`;
}
