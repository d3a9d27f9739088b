// Tiles of eight rows and four items, of weights that are laid out for them, so that lanes are rows and nothing is left to be added across them.
import { constant } from "../device/wasm/simd";
import { itemOf, put } from "./floats";
import { Batch, Linear } from "./linear";
import { added, changing, endOfGroup, GROUP, isQ4, pairs, products, scalesOf, step, stored } from "./rounded_weights";

// Eight rows as a tile reads them: four columns of each row beside each other, and then scales, eight by eight.
export function layOut<T>(all: Linear, at: u32, apart: u32, rows: u32, scratch: usize): void {
  const by = changing<T>(), mask = constant<i16>(0), power = constant<i16>(1);
  const rowBytes = apart * all.rowBytes, scaleBytes = apart * all.scaleRowBytes;
  const padded: u32 = all.columns + step<T>() - 1 & ~(step<T>() - 1);
  for (let half: u32 = 0; half < 2; half++) {
    const last = rows - 1;
    const r0 = min<u32>(half << 2, last), r1 = min<u32>((half << 2) + 1, last), r2 = min<u32>((half << 2) + 2, last), r3 = min<u32>((half << 2) + 3, last);
    const w = all.weights + at * all.rowBytes, s = all.scales + at * all.scaleRowBytes;
    const w0 = w + r0 * rowBytes, w1 = w + r1 * rowBytes, w2 = w + r2 * rowBytes, w3 = w + r3 * rowBytes;
    let to = scratch + (half << 4);
    for (let k: u32 = 0; k < padded; k += step<T>()) {
      const a = stored<T>(w0, k, by), b = stored<T>(w1, k, by), c = stored<T>(w2, k, by), d = stored<T>(w3, k, by);
      if (isQ4<T>()) {
        beside(to, v128.and(a, by), v128.and(b, by), v128.and(c, by), v128.and(d, by));
        const e = v128.and(i16x8.shr_u(a, 4), by), f = v128.and(i16x8.shr_u(b, 4), by);
        beside(to + 128, e, f, v128.and(i16x8.shr_u(c, 4), by), v128.and(i16x8.shr_u(d, 4), by));
        to += 256;
      } else {
        beside(to, a, b, c, d);
        to += 128;
      }
    }
    to = scratch + (padded << 3) + (half << 4);
    const s0 = s + r0 * scaleBytes, s1 = s + r1 * scaleBytes, s2 = s + r2 * scaleBytes, s3 = s + r3 * scaleBytes;
    for (let k: u32 = 0, g: u32 = 0; k < padded; k += GROUP, g++) v128.store(to + (g << 5), scalesOf(s0, s1, s2, s3, g, mask, power));
  }
}

// Sixteen columns of four rows.
// @ts-ignore: decorator
@inline
function beside(to: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(to, v128.shuffle<i64>(ab, cd, 1, 3), 32);
  const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ef, gh, 0, 2), 64);
  v128.store(to, v128.shuffle<i64>(ef, gh, 1, 3), 96);
}

// Sixteen columns of four rows, added in 16 bits first.
// @ts-ignore: decorator
@inline
function four<T>(w: usize, x: usize, sum: v128, ones: v128): v128 {
  const a = v128.load32_splat(x), b = v128.load32_splat(x, 4), c = v128.load32_splat(x, 8), d = v128.load32_splat(x, 12);
  const p = v128.load(w), q = v128.load(w, 32), r = v128.load(w, 64), s = v128.load(w, 96);
  if (isQ4<T>()) {
    const ab = i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(a, p), i16x8.relaxed_dot_i8x16_i7x16_s(b, q));
    const cd = i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(c, r), i16x8.relaxed_dot_i8x16_i7x16_s(d, s));
    return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.add(ab, cd), ones));
  }
  const zero = i32x4.splat(0);
  const ab = i32x4.add(
    i32x4.dot_i16x8_s(products(p, i8x16.abs(a), i8x16.lt_s(a, zero)), ones),
    i32x4.dot_i16x8_s(products(q, i8x16.abs(b), i8x16.lt_s(b, zero)), ones),
  );
  const cd = i32x4.add(
    i32x4.dot_i16x8_s(products(r, i8x16.abs(c), i8x16.lt_s(c, zero)), ones),
    i32x4.dot_i16x8_s(products(s, i8x16.abs(d), i8x16.lt_s(d, zero)), ones),
  );
  return i32x4.add(sum, i32x4.add(ab, cd));
}

// Eight rows times four items: lanes are rows.
export function tile<T>(all: Linear, batch: Batch, first: u32, row: u32, apart: u32, rows: u32, scratch: usize): void {
  const items = all.itemsPerInput, bytes = all.inputBytes;
  const m0 = itemOf(batch, first), m1 = itemOf(batch, first + 1), m2 = itemOf(batch, first + 2), m3 = itemOf(batch, first + 3);
  const x0 = all.x + m0 / items * bytes, x1 = all.x + m1 / items * bytes, x2 = all.x + m2 / items * bytes, x3 = all.x + m3 / items * bytes;
  const toScales: usize = all.columns + 63 & ~63;
  const zero = i32x4.splat(0), ones = pairs();
  const s = scratch + ((all.columns + step<T>() - 1 & ~(step<T>() - 1)) << 3);
  let w = scratch;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (let k: u32 = 0, g: u32 = 0; k < all.columns; g++) {
    let i0 = zero, i1 = zero, i2 = zero, i3 = zero, j0 = zero, j1 = zero, j2 = zero, j3 = zero;
    const end = endOfGroup<T>(all, k), scales = s + (k / GROUP << 5);
    for (; sizeof<T>() == 2 && k < end; k += 16, w += 128) {
      i0 = four<T>(w, x0 + k, i0, ones);
      j0 = four<T>(w + 16, x0 + k, j0, ones);
      i1 = four<T>(w, x1 + k, i1, ones);
      j1 = four<T>(w + 16, x1 + k, j1, ones);
      i2 = four<T>(w, x2 + k, i2, ones);
      j2 = four<T>(w + 16, x2 + k, j2, ones);
      i3 = four<T>(w, x3 + k, i3, ones);
      j3 = four<T>(w + 16, x3 + k, j3, ones);
    }
    for (; sizeof<T>() == 1 && k < end; k += 16) {
      const e = x0 + k, f = x1 + k, h = x2 + k, l = x3 + k;
      const u0 = v128.load(w, 0), v0 = v128.load(w, 16);
      const p00 = v128.load32_splat(e, 0);
      i0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p00, u0, i0);
      j0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p00, v0, j0);
      const p01 = v128.load32_splat(f, 0);
      i1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p01, u0, i1);
      j1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p01, v0, j1);
      const p02 = v128.load32_splat(h, 0);
      i2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p02, u0, i2);
      j2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p02, v0, j2);
      const p03 = v128.load32_splat(l, 0);
      i3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p03, u0, i3);
      j3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p03, v0, j3);
      const u1 = v128.load(w, 32), v1 = v128.load(w, 48);
      const p10 = v128.load32_splat(e, 4);
      i0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p10, u1, i0);
      j0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p10, v1, j0);
      const p11 = v128.load32_splat(f, 4);
      i1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p11, u1, i1);
      j1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p11, v1, j1);
      const p12 = v128.load32_splat(h, 4);
      i2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p12, u1, i2);
      j2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p12, v1, j2);
      const p13 = v128.load32_splat(l, 4);
      i3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p13, u1, i3);
      j3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p13, v1, j3);
      const u2 = v128.load(w, 64), v2 = v128.load(w, 80);
      const p20 = v128.load32_splat(e, 8);
      i0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p20, u2, i0);
      j0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p20, v2, j0);
      const p21 = v128.load32_splat(f, 8);
      i1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p21, u2, i1);
      j1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p21, v2, j1);
      const p22 = v128.load32_splat(h, 8);
      i2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p22, u2, i2);
      j2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p22, v2, j2);
      const p23 = v128.load32_splat(l, 8);
      i3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p23, u2, i3);
      j3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p23, v2, j3);
      const u3 = v128.load(w, 96), v3 = v128.load(w, 112);
      const p30 = v128.load32_splat(e, 12);
      i0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p30, u3, i0);
      j0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p30, v3, j0);
      const p31 = v128.load32_splat(f, 12);
      i1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p31, u3, i1);
      j1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p31, v3, j1);
      const p32 = v128.load32_splat(h, 12);
      i2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p32, u3, i2);
      j2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p32, v3, j2);
      const p33 = v128.load32_splat(l, 12);
      i3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p33, u3, i3);
      j3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(p33, v3, j3);
      w += 128;
    }
    const c = v128.load(scales), d = v128.load(scales, 16);
    a0 = added(a0, i0, c, x0 + toScales, g);
    b0 = added(b0, j0, d, x0 + toScales, g);
    a1 = added(a1, i1, c, x1 + toScales, g);
    b1 = added(b1, j1, d, x1 + toScales, g);
    a2 = added(a2, i2, c, x2 + toScales, g);
    b2 = added(b2, j2, d, x2 + toScales, g);
    a3 = added(a3, i3, c, x3 + toScales, g);
    b3 = added(b3, j3, d, x3 + toScales, g);
  }
  // Laid aside beside each other, by which V8 finds out that all of this can be done for eight rows at once (core/wide_kernels.ts).
  const sums = s + ((all.columns + GROUP - 1) / GROUP << 5);
  v128.store(sums, a0);
  v128.store(sums, b0, 16);
  v128.store(sums, a1, 32);
  v128.store(sums, b1, 48);
  v128.store(sums, a2, 64);
  v128.store(sums, b2, 80);
  v128.store(sums, a3, 96);
  v128.store(sums, b3, 112);
  const some = min<u32>(4, rows);
  put(all, m0, row, apart, some, v128.load(sums));
  put(all, m1, row, apart, some, v128.load(sums, 32));
  put(all, m2, row, apart, some, v128.load(sums, 64));
  put(all, m3, row, apart, some, v128.load(sums, 96));
  if (rows <= 4) return;
  put(all, m0, row + 4 * apart, apart, rows - 4, v128.load(sums, 16));
  put(all, m1, row + 4 * apart, apart, rows - 4, v128.load(sums, 48));
  put(all, m2, row + 4 * apart, apart, rows - 4, v128.load(sums, 80));
  put(all, m3, row + 4 * apart, apart, rows - 4, v128.load(sums, 112));
}
