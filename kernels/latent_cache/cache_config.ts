/**
 * What a cached token consists of.
 *
 * @module
 */
import type { CacheDtype, IndexDtype } from "../../core/cache/cache_dtype.ts";
import { roundUp } from "../../core/numeric.ts";

export type { CacheDtype } from "../../core/cache/cache_dtype.ts";

/** Shape of one cached token. */
export interface CacheConfig {
  readonly dtype: CacheDtype | IndexDtype;
  /** Latent columns that are kept (|K_i|; all of d_c on a single worker). */
  readonly keyWidth: number;
  /** d_r */
  readonly ropeWidth: number;
  /** Of `q8`: widths of the groups of key columns that share a scale; by default as many as can. */
  readonly groups?: readonly number[];
}

/** Of latents, not of index keys. */
export interface LatentConfig extends CacheConfig {
  readonly dtype: CacheDtype;
}

/** Whether a token is bytes with scales behind them, of either kind. */
export function inBytes({ dtype }: Pick<CacheConfig, "dtype">): boolean {
  return dtype === "q8" || dtype === "fp8";
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
