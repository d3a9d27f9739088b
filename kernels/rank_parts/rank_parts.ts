/**
 * What the ranks of a unit have computed of a block's output, and how a kernel adds it up: its own part where the block left it, the others' as they were sent, in
 * rank order, so that every rank gets the same bits, whichever way the parts came.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../core/numeric.ts";
import type { WasmBinding } from "../authoring/wasm_program.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import partsF16 from "./f16.wgsl" with { type: "text" };
import partsF32 from "./f32.wgsl" with { type: "text" };
import source from "./rank_parts.wgsl" with { type: "text" };

/** Whose parts there are. */
export interface RankPartsConfig {
  /** Of a row. */
  readonly width: number;
  readonly ranks: number;
  /** Which of them is this one. */
  readonly rank: number;
  /** How all parts lie, its own among them; f16 where rows are whole vectors of four. */
  readonly wire: "f32" | "f16";
}

/** `own`: [rows, width]; `others`: [ranks - 1, rows, width], in rank order. */
export type RankPartsBindings = "own" | "others";

/**
 * `summed(at)`: the sum of all ranks' parts, where `at` counts `Values` from the first row. Binds `own` and `others` to the numbers given, and reads `params.rows`.
 *
 * @param values floats in `Values`
 */
export function rankPartsWgsl(
  { width, ranks, rank, wire }: RankPartsConfig,
  values: 1 | 4,
  bindings: { readonly own: number; readonly others: number },
): string {
  const numbers = { RANKS: ranks, RANK: rank, PART_VALUES: width / values, OTHERS_AFTER: ranks - 1 - rank };
  const stored = (wire === "f32" ? partsF32 : partsF16) +
    `@group(0) @binding(${bindings.own}) var<storage, read> own_part: array<Stored>;\n` +
    `@group(0) @binding(${bindings.others}) var<storage, read> other_parts: array<Stored>;\n`;
  return constants(numbers) + stored + unroll(source, numbers);
}

/** Least bytes of each binding. */
export function rankPartsSizes({ width, ranks, wire }: RankPartsConfig, rows: number): Record<RankPartsBindings, number> {
  const bytes = rows * width * (wire === "f32" ? 4 : 2);
  return { own: bytes, others: bytes * (ranks - 1) };
}

/** The same on the host: the sum of `rows` rows, every addition rounded to f32 as devices do. */
export function sumRankParts(
  { width, ranks, rank, wire }: RankPartsConfig,
  { own, others }: Readonly<Record<RankPartsBindings, HostBuffer>>,
  rows: number,
): Float32Array<ArrayBuffer> {
  const values = rows * width;
  const sum = new Float32Array(values);
  for (let r = 0; r < ranks; r++) {
    const buffer = r === rank ? own : others;
    const from = r === rank ? 0 : (r < rank ? r : r - 1) * values;
    const part = wire === "f32" ? buffer.f32 : buffer.f16;
    if (r === 0) { for (let i = 0; i < values; i++) sum[i] = part[from + i]; }
    else for (let i = 0; i < values; i++) sum[i] += part[from + i];
  }
  return sum;
}

/** Binds the sum of rows on a `wasm` device. @returns the address of the sum, and what computes so many rows of it */
export function wasmRankParts(
  binding: Pick<WasmBinding<RankPartsBindings, string>, "at" | "allocate" | "share" | "call">,
  config: RankPartsConfig,
  mostRows: number,
): { readonly address: number; readonly sum: (rows: number) => void } {
  const { address } = binding.share("summed", roundUp(mostRows * config.width, 4));
  return { address, sum: wasmSumParts(binding, config, address) };
}

/** The same into memory of the caller's. @param address with room for whole vectors of four @returns what computes so many rows */
export function wasmSumParts(
  { at, allocate, call }: Pick<WasmBinding<RankPartsBindings, string>, "at" | "allocate" | "call">,
  { width, ranks, rank, wire }: RankPartsConfig,
  address: number,
): (rows: number) => void {
  const args = allocate(7);
  args.u32.set([at.own, at.others, address, ranks, rank, wire === "f16" ? 1 : 0]);
  return (rows) => {
    args.u32[6] = rows * width;
    call("sum_parts", args, ceilDiv(rows * width, 1024), 1024 * ranks);
  };
}
