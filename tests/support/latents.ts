/**
 * Latents on the host, and attention over them in float64.
 *
 * @module
 */
import { type CacheConfig, cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";

/** Bytes of a cache with these values per slot. */
export function packCache(config: CacheConfig, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (config.dtype === "q8" || config.dtype === "fp8") return packBytes(config, values).bytes;
  return config.dtype === "f32" ? new Uint8Array(values.slice().buffer) : new Uint8Array(new Uint16Array(Float16Array.from(values).buffer).buffer);
}

/** Values as a cache holds them; of eight bits, what fills columns up is zero. */
export function rounded(config: CacheConfig, values: Float32Array): Float32Array {
  if (config.dtype === "q8" || config.dtype === "fp8") return packBytes(config, values).rounded;
  return config.dtype === "f32" ? values : Float32Array.from(Float16Array.from(values));
}

/** Values that packed bytes of a cache hold. */
export function unpackCache(config: CacheConfig, bytes: Uint8Array<ArrayBuffer>): Float32Array {
  if (config.dtype === "f32") return new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
  if (config.dtype === "f16") return Float32Array.from(new Float16Array(bytes.buffer, 0, Math.floor(bytes.length / 2)));
  const { width, groups, rope, scales, tokenBytes } = partsOf(config);
  const slots = bytes.length / tokenBytes;
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(slots * width);
  for (let slot = 0; slot < slots; slot++) {
    const [at, to] = [slot * tokenBytes, slot * width];
    let column = 0;
    groups.forEach((count, group) => {
      const scale = view.getFloat32(at + scales + group * 4, true);
      for (let i = 0; i < count; i++, column++) {
        values[to + column] = (config.dtype === "fp8" ? e4m3(view.getUint8(at + column)) : view.getInt8(at + column)) * scale;
      }
    });
    for (let i = ropeOffset(config); i < width; i++) values[to + i] = view.getFloat16(at + rope + (i - ropeOffset(config)) * 2, true);
  }
  return values;
}

/** Where the parts of a token in eight bits lie: key columns and scales each fill up 16 bytes, rotated keys are whole 16 bytes. */
function partsOf(config: CacheConfig) {
  const width = cacheWidth(config);
  const groups = config.groups ?? Array.from({ length: Math.ceil(config.keyWidth / 128) }, (_, i) => Math.min(128, config.keyWidth - i * 128));
  const filled = (bytes: number) => Math.ceil(bytes / 16) * 16;
  const rope = filled(config.keyWidth);
  const scales = rope + (width - ropeOffset(config)) * 2;
  return { width, groups, rope, scales, tokenBytes: scales + filled(groups.length * 4) };
}

function packBytes(config: CacheConfig, values: Float32Array): { readonly bytes: Uint8Array<ArrayBuffer>; readonly rounded: Float32Array } {
  const { width, groups, rope, scales, tokenBytes } = partsOf(config);
  const slots = values.length / width;
  const bytes = new Uint8Array(slots * tokenBytes);
  const view = new DataView(bytes.buffer);
  for (let slot = 0; slot < slots; slot++) {
    const [at, from] = [slot * tokenBytes, slot * width];
    let column = 0;
    groups.forEach((count, group) => {
      const largest = Math.max(...values.subarray(from + column, from + column + count).map(Math.abs));
      const scale = config.dtype === "fp8" ? 2 ** Math.ceil(Math.log2(Math.max(largest, 1e-4) / 448)) : Math.fround(largest / 127);
      view.setFloat32(at + scales + group * 4, scale, true);
      for (let i = 0; i < count; i++, column++) {
        const value = values[from + column] / scale;
        view.setUint8(at + column, config.dtype === "fp8" ? nearestE4m3(value) : Math.round(value));
      }
    });
    for (let i = ropeOffset(config); i < width; i++) view.setFloat16(at + rope + (i - ropeOffset(config)) * 2, values[from + i], true);
  }
  return { bytes, rounded: unpackCache(config, bytes) };
}

/** Value of an E4M3 byte. */
function e4m3(bits: number): number {
  const [exponent, mantissa] = [bits >> 3 & 15, bits & 7];
  return (bits & 0x80 ? -1 : 1) * (exponent === 0 ? mantissa / 512 : (8 + mantissa) * 2 ** (exponent - 10));
}

/** The byte whose value is nearest; of two, the one that is even. */
function nearestE4m3(value: number): number {
  const magnitude = Math.abs(value);
  let above = 0;
  while (e4m3(above) < magnitude) above++;
  const [up, down] = [e4m3(above) - magnitude, magnitude - e4m3(Math.max(0, above - 1))];
  const nearest = up < down || up === down && above % 2 === 0 ? above : Math.max(0, above - 1);
  return nearest + (value < 0 ? 0x80 : 0);
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
