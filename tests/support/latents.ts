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

/** softmax(scores) · values, in float64. @param values those of key `k` begin at `at[k]` */
export function attend(scores: Float64Array, values: Float32Array, at: ArrayLike<number>, columns: number): number[] {
  const largest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
  const weights = scores.map((score) => Math.exp(score - largest));
  const total = weights.reduce((a, b) => a + b);
  const sums = new Float64Array(columns);
  for (const [key, weight] of weights.entries()) {
    for (let c = 0, from = at[key]; c < columns; c++) sums[c] += weight * values[from + c];
  }
  return Array.from(sums, (sum) => sum / total);
}

/** Attention of one query over latents, in float64. @param at where each of its latents begins in `stored` */
export function attendLatents(
  query: Float32Array,
  stored: Float32Array,
  at: readonly number[],
  { width, scale, valueOffset, valueWidth }: {
    readonly width: number;
    readonly scale: number;
    readonly valueOffset: number;
    readonly valueWidth: number;
  },
): number[] {
  const scores = Float64Array.from(at, (from) => {
    let score = 0;
    for (let k = 0; k < width; k++) score += query[k] * stored[from + k];
    return score * scale;
  });
  return attend(scores, stored, at.map((from) => from + valueOffset), valueWidth);
}
