/**
 * Index keys in eight bits: [keyWidth bytes, E4M3][a scale, f32], each part filled up with zeros, as parts of `q8` lie. A value is its byte times the scale, a power of two:
 * the smallest with which the largest magnitude is at most 448 (DeepSeek-V3.2, `act_quant` with `ue8m0`). What is not finite becomes NaN.
 *
 * @module
 */
import { FP8_E4M3_VALUES } from "../../core/numeric.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import { type CacheConfig, cacheWidth } from "./cache_config.ts";
import { q8SlotOf } from "./q8.ts";

/** Keys all of whose values are smaller have the scale that these would have. */
const SMALLEST = 1e-4;

const BITS = new Uint32Array(1);
const FLOAT = new Float32Array(BITS.buffer);

function bitsOf(value: number): number {
  FLOAT[0] = value;
  return BITS[0];
}

/** How a key of so many values is cached: with one scale. */
export function fp8Config(keyWidth: number): CacheConfig {
  return { dtype: "fp8", keyWidth, ropeWidth: 0, groups: [keyWidth] };
}

/** `SLOT_WORDS`, `SCALE_WORD` and `SMALLEST`. */
export function fp8StoreWgsl(config: CacheConfig): string {
  const { scales, bytes } = q8SlotOf(config);
  return constants({ SLOT_WORDS: bytes / 4, SCALE_WORD: scales / 4 }, { SMALLEST });
}

/** Widens one slot into `out`. */
export function readFp8(config: CacheConfig, cache: HostBuffer, slot: number, out: Float64Array | Float32Array): void {
  const { scales, bytes } = q8SlotOf(config);
  const at = slot * bytes;
  const scale = cache.f32[(at + scales) / 4];
  out.fill(0, 0, cacheWidth(config));
  for (let column = 0; column < config.keyWidth; column++) out[column] = FP8_E4M3_VALUES[cache.u8[at + column]] * scale;
}

/** Rounds one token's values and writes them. */
export function writeFp8(config: CacheConfig, cache: HostBuffer, slot: number, values: Float64Array): void {
  const { scales, bytes } = q8SlotOf(config);
  const at = slot * bytes;
  cache.u8.fill(0, at, at + bytes);
  let largest = Math.fround(SMALLEST);
  for (let column = 0; column < config.keyWidth; column++) largest = Math.max(largest, Math.abs(values[column]));
  // 448 is 1.75 · 2⁸.
  const magnitude = bitsOf(largest);
  const exponent = (magnitude >>> 23) - 8 + ((magnitude & 0x7fffff) > 0x600000 ? 1 : 0);
  cache.f32[(at + scales) / 4] = 2 ** (exponent - 127);
  for (let column = 0; column < config.keyWidth; column++) cache.u8[at + column] = e4m3Of(values[column] * 2 ** (127 - exponent));
}

/** The byte whose value is nearest (ties to even). */
function e4m3Of(value: number): number {
  const bits = bitsOf(value);
  const [sign, magnitude] = [bits >>> 24 & 0x80, bits & 0x7fffffff];
  if (!(magnitude <= bitsOf(448))) return sign | 0x7f;
  // Below 2⁻⁶ values are 2⁻⁹ apart, as floats are from 2¹⁴ on.
  if (magnitude < bitsOf(2 ** -6)) return sign | bitsOf(Math.abs(FLOAT[0] = value) + 2 ** 14) - bitsOf(2 ** 14);
  return sign | (magnitude + 0x7ffff + (magnitude >>> 20 & 1) >>> 20) - (120 << 3);
}
