/**
 * How the paged latent cache of one layer lies in its buffer: [slots, width], where slot = block · BLOCK_TOKENS + offset, and each slot holds the
 * key columns of the latent followed by the rotated key. Both begin at multiples of {@link ALIGNMENT}, so that any slot can be read 16 bytes at a time; what
 * that leaves between them is zero. Absorbed queries lie as slots do.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { F16_VALUES, roundUp, toHalfBits } from "../../core/numeric.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import f16 from "./f16.wgsl" with { type: "text" };
import f32 from "./f32.wgsl" with { type: "text" };
import vectorsF16 from "./vectors_f16.wgsl" with { type: "text" };
import vectorsF32 from "./vectors_f32.wgsl" with { type: "text" };

/** Precision of cached latents. */
export type CacheDtype = "f16" | "f32";

/** Shape of one cached token. */
export interface CacheConfig {
  readonly dtype: CacheDtype;
  /** Latent columns that are kept (|K_i|; all of d_c on a single worker). */
  readonly keyWidth: number;
  /** d_r */
  readonly ropeWidth: number;
}

/** Values in 16 bytes of f16. */
const ALIGNMENT = 8;

/** Values before the rotated key. */
export function ropeOffset(config: Pick<CacheConfig, "keyWidth">): number {
  return roundUp(config.keyWidth, ALIGNMENT);
}

/** Values per token. */
export function cacheWidth(config: Pick<CacheConfig, "keyWidth" | "ropeWidth">): number {
  return ropeOffset(config) + roundUp(config.ropeWidth, ALIGNMENT);
}

/** Bytes per token of one layer. */
export function cacheTokenBytes(config: CacheConfig): number {
  return cacheWidth(config) * (config.dtype === "f16" ? 2 : 4);
}

/**
 * `CACHE_WIDTH`, `SLOT_VECTORS` and `stage(slot, vector, words)`, which widens the 16 bytes `words` of the binding `cache: array<vec4<u32>>` into
 * `tile: array<vec4<f32>>`.
 */
export function cacheVectorsWgsl(config: CacheConfig): string {
  return constants({ CACHE_WIDTH: cacheWidth(config), SLOT_VECTORS: cacheTokenBytes(config) / 16, BLOCK_TOKENS }) +
    (config.dtype === "f16" ? vectorsF16 : vectorsF32);
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
