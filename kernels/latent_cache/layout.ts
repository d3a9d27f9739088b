/**
 * How the paged latent cache of one layer lies in its buffer: [slots, width], where slot = block · BLOCK_TOKENS + offset, and each slot holds the
 * key columns of the latent followed by the rotated key. Both begin at multiples of 16 bytes, so that any slot can be read 16 bytes at a time; what that
 * leaves between them is zero. Absorbed queries lie as slots do. Slots of `q8` and `fp8` hold the same values in other places: `q8.ts`, `fp8.ts`.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { F16_VALUES, toHalfBits } from "../../core/numeric.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import { type CacheConfig, cacheWidth, inBytes, ropeOffset } from "./cache_config.ts";
import f16 from "./f16.wgsl" with { type: "text" };
import f32 from "./f32.wgsl" with { type: "text" };
import { readFp8, writeFp8 } from "./fp8.ts";
import { q8PairsWgsl, q8SlotOf, q8SlotWgsl, q8VectorsWgsl, readQ8, writeQ8 } from "./q8.ts";
import vectorsF16 from "./vectors_f16.wgsl" with { type: "text" };
import vectorsF32 from "./vectors_f32.wgsl" with { type: "text" };

export { type CacheConfig, type CacheDtype, cacheWidth, inBytes, type LatentConfig, ropeOffset } from "./cache_config.ts";

/** Bytes per token of one layer. */
export function cacheTokenBytes(config: CacheConfig): number {
  switch (config.dtype) {
    case "f32":
      return cacheWidth(config) * 4;
    case "f16":
      return cacheWidth(config) * 2;
    case "q8":
    case "fp8":
      return q8SlotOf(config).bytes;
    default:
      return config.dtype satisfies never;
  }
}

/** What a token is sent as: values of its precision, or of `q8` and `fp8`, whose parts have several, bytes. */
export function sentWidth(config: CacheConfig): number {
  return inBytes(config) ? cacheTokenBytes(config) : cacheWidth(config);
}

/**
 * `CACHE_WIDTH`, `SLOT_VECTORS`, `BLOCK_TOKENS`; `fetch(base, at) -> Fetched`, what vector `at` of consecutive slots is that begin with vector `base` of the binding
 * `cache: array<vec4<u32>>`; and `stage(slot, vector, fetched)`, which widens that into `tile: array<vec4<f32>>`, where the slot begins with quad `slot`.
 */
export function cacheVectorsWgsl(config: CacheConfig, blockTokens = BLOCK_TOKENS): string {
  const numbers = { CACHE_WIDTH: cacheWidth(config), SLOT_VECTORS: cacheTokenBytes(config) / 16, BLOCK_TOKENS: blockTokens };
  return constants(numbers) +
    { f16: () => vectorsF16, f32: () => vectorsF32, q8: () => q8VectorsWgsl(config), fp8: () => q8VectorsWgsl(config) }[config.dtype]();
}

/** `CACHE_WIDTH`, `ROPE_OFFSET` and `cache_pair(slot, pair) -> vec2<f32>` over the binding `cache: array<u32>`; of `fp8`, where its parts lie, as of `q8`. */
export function cacheWgsl(config: CacheConfig): string {
  const numbers = { CACHE_WIDTH: cacheWidth(config), ROPE_OFFSET: ropeOffset(config), BLOCK_TOKENS };
  return constants(numbers) + { f16: () => f16, f32: () => f32, q8: () => q8PairsWgsl(config), fp8: () => q8SlotWgsl(config) }[config.dtype]();
}

/** Slot of a position of the sequence whose block table begins at word `table`. @param blockTokens slots of a block */
export function slotOf(tables: HostBuffer, table: number, position: number, blockTokens = BLOCK_TOKENS): number {
  return tables.u32[table + Math.floor(position / blockTokens)] * blockTokens + (position % blockTokens);
}

/** Widens one slot into `out`. */
export function readSlot(config: CacheConfig, cache: HostBuffer, slot: number, out: Float64Array | Float32Array): void {
  if (config.dtype === "q8") return readQ8(config, cache, slot, out);
  if (config.dtype === "fp8") return readFp8(config, cache, slot, out);
  const width = cacheWidth(config);
  const from = slot * width;
  if (config.dtype === "f32") {
    for (let i = 0; i < width; i++) out[i] = cache.f32[from + i];
  } else {
    for (let i = 0; i < width; i++) out[i] = F16_VALUES[cache.u16[from + i]];
  }
}

/** Rounds one token's values to cache precision and writes them. */
export function writeSlot(config: CacheConfig, cache: HostBuffer, slot: number, values: Float64Array): void {
  if (config.dtype === "q8") return writeQ8(config, cache, slot, values);
  if (config.dtype === "fp8") return writeFp8(config, cache, slot, values);
  const from = slot * cacheWidth(config);
  if (config.dtype === "f32") cache.f32.set(values, from);
  else cache.u16.set(toHalfBits(values), from);
}
