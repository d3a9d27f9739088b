/**
 * Latents in eight bits: [keyWidth bytes, two's complement][rotated key, f16][a scale for each group of key columns, f32], each part filled up with zeros
 * (core/cache/q8_slot.ts). A value is its byte times the scale of its group, in f32; the largest magnitude of a group becomes ±127. A group of which a value is not finite is NaN as a
 * whole, as it would be in the sums that a single NaN is in.
 *
 * @module
 */
import { scaleGroupsOf } from "../../core/cache/cache_dtype.ts";
import { type Q8Slot, q8Slot } from "../../core/cache/q8_slot.ts";
import { F16_VALUES, halfBits } from "../../core/numeric.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import type { WasmArguments } from "../authoring/wasm_program.ts";
import { type CacheConfig, cacheWidth, ropeOffset } from "./cache_config.ts";
import anyScale from "./any_scale.wgsl" with { type: "text" };
import e4m3Bytes from "./e4m3_bytes.wgsl" with { type: "text" };
import values from "./q8.wgsl" with { type: "text" };
import signedBytes from "./signed_bytes.wgsl" with { type: "text" };
import vectors from "./vectors_q8.wgsl" with { type: "text" };
import oneScale from "./one_scale.wgsl" with { type: "text" };

/** Bytes that are read at a time. */
const VECTOR = 16;
/** Groups whose values are all smaller are zero: what 127 is divided by must not be too small for f32. */
export const SMALLEST = 2 ** -100;

/** What compiled kernels are told of slots: `Q8Slot` of q8.as. @returns its address */
export function q8Arguments(config: CacheConfig, allocate: (words: number) => WasmArguments): number {
  const { rope, scales, bytes } = q8SlotOf(config);
  const ends = groupEnds(config);
  const fields = 7;
  const { address, u32 } = allocate(fields + ends.length);
  u32.set([rope, scales, bytes, ropeOffset(config), cacheWidth(config), ends.length, address + fields * 4, ...ends]);
  return address;
}

/** Widths of the groups of key columns that share a scale. */
export function groupsOf({ groups, keyWidth }: Pick<CacheConfig, "groups" | "keyWidth">): readonly number[] {
  return groups ?? scaleGroupsOf(keyWidth);
}

/** Where the groups of key columns end. */
export function groupEnds(config: Pick<CacheConfig, "groups" | "keyWidth">): number[] {
  let end = 0;
  return groupsOf(config).map((width) => end += width);
}

/** Where the parts of a slot lie. */
export function q8SlotOf(config: Omit<CacheConfig, "dtype">): Q8Slot {
  return q8Slot({ ...config, groups: groupsOf(config) });
}

/** `scale_group(column)`: which group a column belongs to; those behind the last one belong to the last. */
export function scaleGroupWgsl(config: CacheConfig): string {
  const begins = groupEnds(config).slice(0, -1);
  const sum = begins.map((begin) => `u32(column >= ${begin}u)`).join(" + ");
  return `fn scale_group(column: u32) -> u32 { return ${sum === "" ? "0u" : sum}; }\n`;
}

/** `SLOT_WORDS`, `ROPE_WORD`, `SCALE_WORD` and `scale_group`. */
export function q8SlotWgsl(config: CacheConfig): string {
  const { rope, scales, bytes } = q8SlotOf(config);
  const numbers = { SLOT_WORDS: bytes / 4, ROPE_WORD: rope / 4, SCALE_WORD: scales / 4, SCALE_GROUPS: groupsOf(config).length };
  return constants(numbers) + scaleGroupWgsl(config);
}

/** `cache_pair(slot, pair)` of `layout.ts`, and `byte_value(word, byte)`. */
export function q8PairsWgsl(config: CacheConfig): string {
  return q8SlotWgsl(config) + values;
}

/** Whether all sixteen values that are read together have one scale. */
export function wholeVectors(config: CacheConfig): boolean {
  return groupEnds(config).slice(0, -1).every((end) => end % VECTOR === 0);
}

/** `Fetched`, `fetch` and `stage` of `layout.ts`, also of `fp8`. */
export function q8VectorsWgsl(config: CacheConfig): string {
  const { rope, scales } = q8SlotOf(config);
  const numbers = {
    KEY_VECTORS: rope / VECTOR,
    SCALE_VECTOR: scales / VECTOR,
    ROPE_QUAD: ropeOffset(config) / 4,
  };
  const bytes = config.dtype === "fp8" ? e4m3Bytes : signedBytes;
  return constants(numbers) + scaleGroupWgsl(config) + (wholeVectors(config) ? oneScale : anyScale) + bytes + vectors;
}

function signed(byte: number): number {
  return byte << 24 >> 24;
}

/** Widens one slot into `out`. */
export function readQ8(config: CacheConfig, cache: HostBuffer, slot: number, out: Float64Array | Float32Array): void {
  const { rope, scales, bytes } = q8SlotOf(config);
  const at = slot * bytes;
  out.fill(0, 0, cacheWidth(config));
  let column = 0;
  groupEnds(config).forEach((end, group) => {
    const scale = cache.f32[(at + scales) / 4 + group];
    for (; column < end; column++) out[column] = Math.fround(signed(cache.u8[at + column]) * scale);
  });
  const [from, to] = [(at + rope) / 2, ropeOffset(config)];
  for (let i = 0; i < cacheWidth(config) - to; i++) out[to + i] = F16_VALUES[cache.u16[from + i]];
}

/** Rounds one token's values and writes them. */
export function writeQ8(config: CacheConfig, cache: HostBuffer, slot: number, values: Float64Array): void {
  const { rope, scales, bytes } = q8SlotOf(config);
  const at = slot * bytes;
  cache.u8.fill(0, at, at + bytes);
  let begin = 0;
  groupEnds(config).forEach((end, group) => {
    const { scale, inverse } = scaleFor(values.subarray(begin, end));
    cache.f32[(at + scales) / 4 + group] = scale;
    for (let column = begin; column < end; column++) cache.u8[at + column] = roundEven(Math.fround(Math.fround(values[column]) * inverse));
    begin = end;
  });
  const [from, to] = [ropeOffset(config), (at + rope) / 2];
  for (let i = 0; i < cacheWidth(config) - from; i++) cache.u16[to + i] = halfBits(values[from + i]);
}

/** What a group's bytes are multiplied by, and what its values are to become bytes. */
function scaleFor(values: Float64Array): { readonly scale: number; readonly inverse: number } {
  let largest = 0;
  for (const value of values) {
    const magnitude = Math.abs(Math.fround(value));
    if (!(magnitude <= largest)) largest = magnitude;
    if (Number.isNaN(largest)) break;
  }
  if (largest < SMALLEST) return { scale: 0, inverse: 0 };
  return { scale: Math.fround(largest / 127), inverse: Math.fround(127 / largest) };
}

/** Adding it leaves no bits of a float32 for fractions. */
const WHOLE = 1.5 * 2 ** 23;

/** The nearest byte (ties to even). */
function roundEven(value: number): number {
  return Math.max(-127, Math.min(127, Math.fround(Math.fround(value + WHOLE) - WHOLE)));
}
