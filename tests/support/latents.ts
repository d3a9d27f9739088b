/**
 * Latents on the host, and attention over them in float64.
 *
 * @module
 */
import type { CacheConfig, CacheDtype } from "../../kernels/latent_cache/layout.ts";

/** Bytes of a cache with these values per slot. */
export function packCache(config: CacheConfig, values: Float32Array): Uint8Array<ArrayBuffer> {
  return config.dtype === "f32" ? new Uint8Array(values.slice().buffer) : new Uint8Array(new Uint16Array(Float16Array.from(values).buffer).buffer);
}

/** Values as a cache holds them. */
export function rounded(dtype: CacheDtype, values: Float32Array): Float32Array {
  return dtype === "f32" ? values : Float32Array.from(Float16Array.from(values));
}

/** softmax(scores) · values, in float64; scores[key], values[key][column]. */
export function attend(scores: number[], value: (key: number, column: number) => number, columns: number): number[] {
  const largest = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - largest));
  const total = weights.reduce((a, b) => a + b);
  return Array.from({ length: columns }, (_, c) => weights.reduce((sum, weight, key) => sum + weight * value(key, c), 0) / total);
}
