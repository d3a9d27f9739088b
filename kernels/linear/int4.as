// Linear layers of four bits as checkpoints have them, which are multiplied as they stand for: inputs are not rounded to eight bits.
import { madd } from "../device/wasm/madd";
import { constant, largestOf, sumsOf } from "../device/wasm/simd";
import { int4Scale, int4Zero } from "../device/wasm/int4";
import { Batch, itemOf, Linear, multiply, put, Round, valuesOf } from "./linear";

// @ts-ignore: decorator
@unmanaged
class Int4 extends Linear {
  scaling: u32;
}

// Sixteen levels of a row, as bytes.
// @ts-ignore: decorator
@inline
function levels(row: usize, k: u32, fifteen: v128): v128 {
  const bytes = v128.load64_zero(row + (k >> 1));
  const low = v128.and(bytes, fifteen), high = v128.and(i16x8.shr_u(bytes, 4), fifteen);
  return v128.shuffle<i8>(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

// Of many rows, weights are widened first. A piece is four rows of one batch. What is widened beyond the last column is multiplied by zeros.
export function linearInt4(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Int4>(args);
  const fours = (all.rows + 3) >> 2;
  const stride = (all.columns + 3 & ~3) << 2;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = piece % fours << 2;
    const rows = min<u32>(4, all.rows - row);
    const at = batch.firstRow + row;
    for (let r: u32 = 0; r < rows; r++) {
      widen(all, all.weights + (at + r) * all.rowBytes, all.scales + (at + r) * all.scaleRowBytes, scratch + r * stride);
    }
    multiply<f32>(all, batch, row, rows, 0, scratch, 0, stride);
  }
}

// A row as f32, and up to twelve values more.
function widen(all: Int4, row: usize, scales: usize, to: usize): void {
  const columns = all.columns, fifteen = constant<bool>(3);
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + all.group, columns);
    const by = f32x4.splat(int4Scale(all.scaling, scales, g)), zero = i8x16.splat(<i8>int4Zero(all.scaling, scales, g));
    for (; k < end; k += 16) {
      const bytes = i8x16.sub(levels(row, k, fifteen), zero);
      const low = i16x8.extend_low_i8x16_s(bytes), high = i16x8.extend_high_i8x16_s(bytes), at = to + (k << 2);
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), by));
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), by), 16);
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), by), 32);
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), by), 48);
    }
  }
}

// Inputs that share a scale when they are split.
// @ts-ignore: decorator
@inline
const SPLIT_GROUP: u32 = 64;

// Splits rows into two numbers of 16 bits each, upper + lower / 2¹⁶, times a scale for each 64: no less than f32 has of the largest of them. Sixteen upper ones are
// followed by their lower ones; behind all of them are the scales.
export function split(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Round>(args);
  const columns = all.columns, padded = columns + 63 & ~63;
  const wide = f32x4.splat(65536);
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes, y = all.y + row * all.outputBytes;
    for (let k: u32 = 0, g: u32 = 0; k < padded; k += SPLIT_GROUP, g++) {
      let most = f32x4.splat(0);
      for (let c = k; c < k + SPLIT_GROUP && c < columns; c += 4) most = f32x4.pmax(most, f32x4.abs(valuesOf(x, c, columns)));
      const scale = largestOf(most) / 32767;
      const by = f32x4.splat(scale == 0 ? 0 : 1 / scale);
      for (let c = k; c < k + SPLIT_GROUP; c += 8) {
        const a = f32x4.mul(valuesOf(x, c, columns), by), b = f32x4.mul(valuesOf(x, c + 4, columns), by);
        const p = f32x4.nearest(a), q = f32x4.nearest(b);
        const r = f32x4.nearest(f32x4.mul(f32x4.sub(a, p), wide)), s = f32x4.nearest(f32x4.mul(f32x4.sub(b, q), wide));
        const to = y + ((c & ~15) << 2) + ((c & 8) << 1);
        v128.store(to, i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(p), i32x4.trunc_sat_f32x4_s(q)));
        v128.store(to, i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(r), i32x4.trunc_sat_f32x4_s(s)), 32);
      }
      store<f32>(y + (padded << 2) + (g << 2), scale);
    }
  }
}

// Of few rows, inputs are split: sums of integers are exact, and those of as many columns as share both scales are added in order.
export function dotInt4(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Int4>(args);
  const fours = (all.rows + 3) >> 2;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = piece % fours << 2;
    const rows = min<u32>(4, all.rows - row);
    const at = batch.firstRow + row;
    let i: u32 = 0;
    for (; i + 1 < batch.count; i += 2) dotPair(all, itemOf(batch, i), itemOf(batch, i + 1), row, rows, at);
    if (i < batch.count) dotSingle(all, itemOf(batch, i), row, rows, at);
  }
}

// How many columns share scales of weights and of inputs.
// @ts-ignore: decorator
@inline
function stepOf(group: u32): u32 {
  return group & 63 ? group & 31 ? 16 : 32 : 64;
}

// @ts-ignore: decorator
@inline
function dots(sum: v128, low: v128, high: v128, x: usize, offset: usize): v128 {
  return i32x4.add(i32x4.add(sum, i32x4.dot_i16x8_s(low, v128.load(x + offset))), i32x4.dot_i16x8_s(high, v128.load(x + offset, 16)));
}

// @ts-ignore: decorator
@inline
function joined(upper: v128, lower: v128, small: v128): v128 {
  return f32x4.add(f32x4.convert_i32x4_s(upper), f32x4.mul(f32x4.convert_i32x4_s(lower), small));
}

// Two rows at a time, since registers hold no more.
function dotSingle(all: Int4, item: u32, row: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group, step = stepOf(group), scaling = all.scaling;
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const xScales = x + ((columns + 63 & ~63) << 2);
  const fifteen = constant<bool>(3), none = i32x4.splat(0), small = f32x4.splat(1.0 / 65536);
  let sums0 = f32x4.splat(0);
  for (let half: u32 = 0; half < rows; half += 2) {
    const w0 = all.weights + (at + half) * all.rowBytes, w1 = half + 1 < rows ? w0 + all.rowBytes : w0;
    const s0 = all.scales + (at + half) * all.scaleRowBytes, s1 = half + 1 < rows ? s0 + all.scaleRowBytes : s0;
    let a0 = f32x4.splat(0), a1 = a0;
    for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
      const g0 = int4Scale(scaling, s0, g), g1 = int4Scale(scaling, s1, g);
      const z0 = i8x16.splat(<i8>int4Zero(scaling, s0, g)), z1 = i8x16.splat(<i8>int4Zero(scaling, s1, g));
      const groupEnd = min(k + group, columns);
      while (k < groupEnd) {
        const by = load<f32>(xScales + (k >> 6 << 2));
        let i0 = none, i1 = none, j0 = none, j1 = none;
        const end = min(k + step, groupEnd);
        for (; k < end; k += 16) {
          const p = x + (k << 2);
          const u0 = i8x16.sub(levels(w0, k, fifteen), z0);
          const l0 = i16x8.extend_low_i8x16_s(u0), h0 = i16x8.extend_high_i8x16_s(u0);
          i0 = dots(i0, l0, h0, p, 0);
          j0 = dots(j0, l0, h0, p, 32);
          const u1 = i8x16.sub(levels(w1, k, fifteen), z1);
          const l1 = i16x8.extend_low_i8x16_s(u1), h1 = i16x8.extend_high_i8x16_s(u1);
          i1 = dots(i1, l1, h1, p, 0);
          j1 = dots(j1, l1, h1, p, 32);
        }
        a0 = madd(joined(i0, j0, small), f32x4.splat(g0 * by), a0);
        a1 = madd(joined(i1, j1, small), f32x4.splat(g1 * by), a1);
      }
    }
    const two = sumsOf(a0, a1, a0, a1);
    if (half == 0) {
      sums0 = two;
      if (rows <= 2) put(all, item, row, rows, two);
    } else put(all, item, row, rows, v128.shuffle<i32>(sums0, two, 0, 1, 4, 5));
  }
}

function dotPair(all: Int4, item: u32, other: u32, row: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group, step = stepOf(group), scaling = all.scaling;
  const x = all.x + item / all.itemsPerInput * all.inputBytes, z = all.x + other / all.itemsPerInput * all.inputBytes;
  const toScales = (columns + 63 & ~63) << 2;
  const fifteen = constant<bool>(3), none = i32x4.splat(0), small = f32x4.splat(1.0 / 65536);
  let sums0 = f32x4.splat(0);
  for (let half: u32 = 0; half < rows; half += 2) {
    const w0 = all.weights + (at + half) * all.rowBytes, w1 = half + 1 < rows ? w0 + all.rowBytes : w0;
    const s0 = all.scales + (at + half) * all.scaleRowBytes, s1 = half + 1 < rows ? s0 + all.scaleRowBytes : s0;
    let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0;
    for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
      const g0 = int4Scale(scaling, s0, g), g1 = int4Scale(scaling, s1, g);
      const z0 = i8x16.splat(<i8>int4Zero(scaling, s0, g)), z1 = i8x16.splat(<i8>int4Zero(scaling, s1, g));
      const groupEnd = min(k + group, columns);
      while (k < groupEnd) {
        const by = load<f32>(x + toScales + (k >> 6 << 2)), to = load<f32>(z + toScales + (k >> 6 << 2));
        let i0 = none, i1 = none, j0 = none, j1 = none, m0 = none, m1 = none, n0 = none, n1 = none;
        const end = min(k + step, groupEnd);
        for (; k < end; k += 16) {
          const p = x + (k << 2), q = z + (k << 2);
          const u0 = i8x16.sub(levels(w0, k, fifteen), z0);
          const l0 = i16x8.extend_low_i8x16_s(u0), h0 = i16x8.extend_high_i8x16_s(u0);
          i0 = dots(i0, l0, h0, p, 0);
          j0 = dots(j0, l0, h0, p, 32);
          m0 = dots(m0, l0, h0, q, 0);
          n0 = dots(n0, l0, h0, q, 32);
          const u1 = i8x16.sub(levels(w1, k, fifteen), z1);
          const l1 = i16x8.extend_low_i8x16_s(u1), h1 = i16x8.extend_high_i8x16_s(u1);
          i1 = dots(i1, l1, h1, p, 0);
          j1 = dots(j1, l1, h1, p, 32);
          m1 = dots(m1, l1, h1, q, 0);
          n1 = dots(n1, l1, h1, q, 32);
        }
        a0 = madd(joined(i0, j0, small), f32x4.splat(g0 * by), a0);
        a1 = madd(joined(i1, j1, small), f32x4.splat(g1 * by), a1);
        b0 = madd(joined(m0, n0, small), f32x4.splat(g0 * to), b0);
        b1 = madd(joined(m1, n1, small), f32x4.splat(g1 * to), b1);
      }
    }
    const four = sumsOf(a0, a1, b0, b1);
    if (half == 0) {
      sums0 = four;
      if (rows > 2) continue;
      put(all, item, row, rows, four);
      put(all, other, row, rows, v128.shuffle<i32>(four, four, 2, 3, 2, 3));
    } else {
      put(all, item, row, rows, v128.shuffle<i32>(sums0, four, 0, 1, 4, 5));
      put(all, other, row, rows, v128.shuffle<i32>(sums0, four, 2, 3, 6, 7));
    }
  }
}
