/**
 * How the paged latent cache of one layer lies in its buffer: [slots, width], where slot = block · BLOCK_TOKENS + offset, and each slot holds the
 * key columns of the latent followed by the rotated key.
 *
 * @module
 */
import { F16_VALUES, roundUp, toHalfBits } from "../../core/numeric.ts";
import { constants, type HostBuffer } from "../contract.ts";
import f16 from "./f16.wgsl" with { type: "text" };
import f32 from "./f32.wgsl" with { type: "text" };

/** Precision of cached latents. */
export type CacheDtype = "f16" | "f32";

/** Tokens per block. */
export const BLOCK_TOKENS = 64;

/** Shape of one cached token. */
export interface CacheConfig {
  readonly dtype: CacheDtype;
  /** Latent columns that are kept (|K_i|; all of d_c on a single worker). */
  readonly keyWidth: number;
  /** d_r */
  readonly ropeWidth: number;
}

/** Values before the rotated key; f16 is written in pairs, so an odd key width is padded by one. */
export function ropeOffset(config: CacheConfig): number {
  return roundUp(config.keyWidth, 2);
}

/** Values per token. */
export function cacheWidth(config: CacheConfig): number {
  return ropeOffset(config) + config.ropeWidth;
}

/** Bytes per token of one layer. */
export function cacheTokenBytes(config: CacheConfig): number {
  return cacheWidth(config) * (config.dtype === "f16" ? 2 : 4);
}

/** `CACHE_WIDTH`, `ROPE_OFFSET` and `cache_pair(slot, pair) -> vec2<f32>` over the binding `cache: array<u32>`. */
export function cacheWgsl(config: CacheConfig): string {
  return constants({ CACHE_WIDTH: cacheWidth(config), ROPE_OFFSET: ropeOffset(config), BLOCK_TOKENS }) + (config.dtype === "f16" ? f16 : f32);
}

/** Slot of a position of the sequence whose block table begins at word `table`. */
export function slotOf(tables: HostBuffer, table: number, position: number): number {
  return tables.u32[table + Math.floor(position / BLOCK_TOKENS)] * BLOCK_TOKENS + (position % BLOCK_TOKENS);
}

/** Widens one slot into `out`. */
export function readSlot(config: CacheConfig, cache: HostBuffer, slot: number, out: Float64Array | Float32Array): void {
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
  const from = slot * cacheWidth(config);
  if (config.dtype === "f32") cache.f32.set(values, from);
  else cache.u16.set(toHalfBits(values), from);
}
