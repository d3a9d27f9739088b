// Decode attention of four heads at a time, where V8 makes one instruction of eight floats out of two of four that lie beside each other (core/wide_kernels.ts): of two
// heads, whose queries are copied so, or of eight columns of values. The same sums in the same order as elsewhere.
import { madd } from "../device/wasm/madd";
import { sumsOf } from "../device/wasm/simd";

// Four queries that lie one after the other, four columns of each beside each other.
export function copyQueries(queries: usize, width: u32, to: usize): void {
  const bytes = width << 2;
  for (let k: u32 = 0; k < bytes; k += 16, to += 64) {
    const from = queries + k;
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from + bytes), 16);
    v128.store(to, v128.load(from + 2 * bytes), 32);
    v128.store(to, v128.load(from + 3 * bytes), 48);
  }
}

// Scores of four latents: those of a head at `to`, of the next so many bytes on. `most`: the largest of each head so far, in four lanes. `sums`: 256 bytes to work with.
export function scoreFour(latents: usize, queries: usize, width: u32, scale: f32, sums: usize, most: usize, to: usize, apart: u32): void {
  let l0: usize = load<u32>(latents), l1: usize = load<u32>(latents, 4), l2: usize = load<u32>(latents, 8), l3: usize = load<u32>(latents, 12);
  let x = queries;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
  for (let k: u32 = 0; k < width; k += 4) {
    const p0 = v128.load(x), p1 = v128.load(x, 16), p2 = v128.load(x, 32), p3 = v128.load(x, 48);
    const a = v128.load(l0);
    a0 = madd(a, p0, a0);
    a1 = madd(a, p1, a1);
    a2 = madd(a, p2, a2);
    a3 = madd(a, p3, a3);
    const b = v128.load(l1);
    b0 = madd(b, p0, b0);
    b1 = madd(b, p1, b1);
    b2 = madd(b, p2, b2);
    b3 = madd(b, p3, b3);
    const c = v128.load(l2);
    c0 = madd(c, p0, c0);
    c1 = madd(c, p1, c1);
    c2 = madd(c, p2, c2);
    c3 = madd(c, p3, c3);
    const d = v128.load(l3);
    d0 = madd(d, p0, d0);
    d1 = madd(d, p1, d1);
    d2 = madd(d, p2, d2);
    d3 = madd(d, p3, d3);
    x += 64;
    l0 += 16;
    l1 += 16;
    l2 += 16;
    l3 += 16;
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, b2, 96);
  v128.store(sums, b3, 112);
  v128.store(sums, c0, 128);
  v128.store(sums, c1, 144);
  v128.store(sums, c2, 160);
  v128.store(sums, c3, 176);
  v128.store(sums, d0, 192);
  v128.store(sums, d1, 208);
  v128.store(sums, d2, 224);
  v128.store(sums, d3, 240);
  for (let h: u32 = 0; h < 64; h += 16, to += apart) {
    const at = sums + h;
    const score = f32x4.mul(sumsOf(v128.load(at), v128.load(at, 64), v128.load(at, 128), v128.load(at, 192)), f32x4.splat(scale));
    v128.store(to, score);
    v128.store(most + h, f32x4.pmax(v128.load(most + h), score));
  }
}

// Sixteen values of four heads: of each latent, `offset` bytes behind its beginning, by its weights, which are so many bytes apart. Those of a head go to `to`, and of the
// next so many bytes on.
export function valuesOfFour(latents: usize, count: u32, offset: u32, weights: usize, apart: u32, to: usize, headBytes: u32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
  let w0 = weights, w1 = w0 + apart, w2 = w1 + apart, w3 = w2 + apart;
  for (let t: u32 = 0; t < count; t++) {
    const latent: usize = load<u32>(latents) + offset;
    const v0 = v128.load(latent), v1 = v128.load(latent, 16), v2 = v128.load(latent, 32), v3 = v128.load(latent, 48);
    const a = v128.load32_splat(w0);
    a0 = madd(v0, a, a0);
    a1 = madd(v1, a, a1);
    a2 = madd(v2, a, a2);
    a3 = madd(v3, a, a3);
    const b = v128.load32_splat(w1);
    b0 = madd(v0, b, b0);
    b1 = madd(v1, b, b1);
    b2 = madd(v2, b, b2);
    b3 = madd(v3, b, b3);
    const c = v128.load32_splat(w2);
    c0 = madd(v0, c, c0);
    c1 = madd(v1, c, c1);
    c2 = madd(v2, c, c2);
    c3 = madd(v3, c, c3);
    const d = v128.load32_splat(w3);
    d0 = madd(v0, d, d0);
    d1 = madd(v1, d, d1);
    d2 = madd(v2, d, d2);
    d3 = madd(v3, d, d3);
    latents += 4;
    w0 += 4;
    w1 += 4;
    w2 += 4;
    w3 += 4;
  }
  putValues(to, a0, a1, a2, a3);
  putValues(to + headBytes, b0, b1, b2, b3);
  putValues(to + 2 * headBytes, c0, c1, c2, c3);
  putValues(to + 3 * headBytes, d0, d1, d2, d3);
}

// @ts-ignore: decorator
@inline
function putValues(to: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(to, a);
  v128.store(to, b, 16);
  v128.store(to, c, 32);
  v128.store(to, d, 48);
}
