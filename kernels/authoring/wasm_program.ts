/**
 * How an operation runs on a `wasm` device: which of the compiled kernels it calls, with which arguments.
 *
 * @module
 */
import type { Scaling, WeightFormat } from "../../core/model/packing.ts";
import type { HostBuffer, Params } from "./host_buffer.ts";

/** Compiled kernels, in the order of `invoke` in pool.as. */
export const WASM_KERNELS = [
  "linear",
  "activate",
  "normalise",
  "absorb",
  "latent_decode",
  "latent_merge",
  "mla_prefill",
  "combine",
  "candidates",
  "rope_store",
  "sum_parts",
  "moe_route",
  "merge_candidates",
  "round",
  "prefill_merge",
  "linear_int4",
  "dot_int4",
  "split",
  "linear_rounded",
  "latent_lse",
  "latent_share",
  "index_scores",
] as const;

/** Storage formats in the order of their numbers there. */
export const WASM_FORMATS: readonly WeightFormat[] = ["f32", "f16", "bf16", "fp8", "q8", "q4", "int4", "int8"];

/** How scales are stored, in the order of their numbers there. */
export const WASM_SCALINGS: readonly Scaling[] = ["none", "f32", "f16", "bf16", "f16-zero", "bf16-zero", "f32-zero"];

/** What the second operand of a dot product of bytes may be beyond seven bits, if sums are to be exact: a number with or without a sign; `null`: neither. */
export type ByteDots = "unsigned" | "signed" | null;

/** Words that a kernel gets: unsigned, or floats where {@link WasmArguments.f32} was written. */
export interface WasmArguments {
  readonly address: number;
  readonly u32: Uint32Array;
  readonly f32: Float32Array;
}

/** What lies in working memory while an operation runs; different ones do not overlap. */
export type WorkingPart = "activated" | "integers" | "normed" | "combined" | "summed";

/** What an operation is bound to. */
export interface WasmBinding<B extends string, P extends string> {
  /** Addresses of its buffers. */
  readonly at: Readonly<Record<B, number>>;
  readonly views: Readonly<Record<B, HostBuffer>>;
  readonly most: Params<P>;
  readonly byteDots: ByteDots;
  /** Whether V8 makes one instruction of two vectors beside each other (core/wide_kernels.ts), which changes no bit. */
  readonly wide: boolean;
  /** Memory of its own, for as long as the device lives. */
  allocate(words: number): WasmArguments;
  /** Memory for as long as one run takes: others of the device have theirs in the same place, one after the other. */
  share(part: WorkingPart, words: number): WasmArguments;
  /** Sees to it that every thread has so many bytes to work with. */
  reserve(bytes: number): void;
  /**
   * Calls a kernel for `pieces` pieces.
   *
   * @param work multiplications of a piece, or what takes as long: small jobs are not worth waking others for
   */
  call(kernel: typeof WASM_KERNELS[number], args: WasmArguments, pieces: number, work: number): void;
}

/** Binds an operation. @returns what runs it */
export type WasmProgram<B extends string, P extends string> = (binding: WasmBinding<B, P>) => (params: Params<P>) => void;
