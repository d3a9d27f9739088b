// Linear layers of four bits as checkpoints have them, of few rows: inputs become integers of 24 bits, as three bytes, and products of bytes are what processors are
// quickest at. Sums of up to 64 columns are exact, in whatever order; those are added in order.
import { madd } from "../device/wasm/madd";
import { constant, largestOf, sumsOf, widenHalf } from "../device/wasm/simd";
import { itemOf, put } from "./floats";
import { fourOf, Int4 } from "./int4";
import { Batch } from "./linear";
import { apartOf, firstOf, rowsOf } from "./row_order";

// @ts-ignore: decorator
@unmanaged
class Split {
  x: usize;
  y: usize;
  columns: u32;
  inputBytes: u32;
  outputBytes: u32;
}

// Bytes of 32 columns of an input, and where among them the integers' sums and their scale lie.
// @ts-ignore: decorator
@inline
const BLOCK: usize = 128, SUMS: usize = 96, SCALE: usize = 112;

// Columns that share a scale. With one for a whole row, what is not among its largest inputs would be left few bits.
// @ts-ignore: decorator
@inline
const SCALED: u32 = 64;

// The largest integer: 127 in the first of three digits to the base 256. Sixteen such times 16, which is what lanes add up of 64 columns, fit 32 bits.
// @ts-ignore: decorator
@inline
const LARGEST: f32 = 127 * 256 * 256;

// Loaded once, see simd.as: 128, 255; and what digits count, which lie in 16 bits, the first a quarter of it.
const CONSTANTS = memory.data<u32>([
  128, 128, 128, 128, 255, 255, 255, 255, 0x40004000, 0x40004000, 0x40004000, 0x40004000, 0x01000100, 0x01000100, 0x01000100, 0x01000100,
], 16);

// @ts-ignore: decorator
@inline
function whole(x: usize, k: u32, columns: u32, by: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(fourOf(x, k, columns), by)));
}

// The last digit of four numbers, balanced: −128 … 127.
// @ts-ignore: decorator
@inline
function digit(value: v128, half: v128, ones: v128): v128 {
  return i32x4.sub(v128.and(i32x4.add(value, half), ones), half);
}

// What is left of it.
// @ts-ignore: decorator
@inline
function rest(value: v128, half: v128): v128 {
  return i32x4.shr_s(i32x4.add(value, half), 8);
}

// Digits of 32 columns as bytes, those of even columns before those of odd ones.
// @ts-ignore: decorator
@inline
function put32(to: usize, ab: v128, de: v128, fg: v128, hi: v128): void {
  const low = i8x16.narrow_i16x8_s(ab, de), high = i8x16.narrow_i16x8_s(fg, hi);
  v128.store(to, v128.shuffle<i8>(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
  v128.store(to, v128.shuffle<i8>(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), 16);
}

// Sums of four vectors, as one: of eight columns each, as lanes of products have them. Were they of others, only the sum of lanes would be small.
// @ts-ignore: decorator
@inline
function eights(a: v128, b: v128, c: v128, d: v128): v128 {
  const low = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const high = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(low, high, 0, 2), v128.shuffle<i64>(low, high, 1, 3));
}

// Splits rows into integers times a scale for 64 of them, and those into digits of one byte. Of 32 columns, first digits of even and of odd ones, as nibbles lie, then
// second and third ones, then the integers' sums and their scale, as four lanes each.
export function split(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Split>(args);
  const columns = all.columns;
  const half = v128.load(CONSTANTS), ones = v128.load(CONSTANTS, 16);
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes;
    let to = all.y + row * all.outputBytes;
    for (let begin: u32 = 0; begin < columns; begin += SCALED) {
      const last = min(begin + SCALED, columns);
      let most = f32x4.splat(0);
      for (let c = begin; c < last; c += 4) most = f32x4.max(most, f32x4.abs(fourOf(x, c, columns)));
      const scale = largestOf(most) / LARGEST;
      // What is less has no reciprocal.
      const by = f32x4.splat(scale < 1e-37 ? 0 : 1 / scale);
      for (let c = begin; c < last; c += 32, to += BLOCK) {
        let a = whole(x, c, columns, by), b = whole(x, c + 4, columns, by), d = whole(x, c + 8, columns, by), e = whole(x, c + 12, columns, by);
        let f = whole(x, c + 16, columns, by), g = whole(x, c + 20, columns, by), h = whole(x, c + 24, columns, by), i = whole(x, c + 28, columns, by);
        v128.store(to, eights(i32x4.add(a, b), i32x4.add(d, e), i32x4.add(f, g), i32x4.add(h, i)), SUMS);
        v128.store(to, f32x4.splat(scale), SCALE);
        for (let at: usize = 64; at > 0; at -= 32) {
          put32(
            to + at,
            i16x8.narrow_i32x4_s(digit(a, half, ones), digit(b, half, ones)),
            i16x8.narrow_i32x4_s(digit(d, half, ones), digit(e, half, ones)),
            i16x8.narrow_i32x4_s(digit(f, half, ones), digit(g, half, ones)),
            i16x8.narrow_i32x4_s(digit(h, half, ones), digit(i, half, ones)),
          );
          a = rest(a, half);
          b = rest(b, half);
          d = rest(d, half);
          e = rest(e, half);
          f = rest(f, half);
          g = rest(g, half);
          h = rest(h, half);
          i = rest(i, half);
        }
        put32(to, i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(d, e), i16x8.narrow_i32x4_s(f, g), i16x8.narrow_i32x4_s(h, i));
      }
    }
  }
}

// A piece is four rows of one batch.
export function dotInt4(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Int4>(args);
  const fours = (all.rows + 3) >> 2;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = firstOf(all, piece % fours, 2), apart = apartOf(all, row, 2), rows = rowsOf(all, row, apart, 2);
    const at = batch.firstRow + row;
    switch (all.scaling) {
      case 1: dotItems<f32>(all, batch, row, apart, rows, at); break;
      case 2: dotItems<i16>(all, batch, row, apart, rows, at); break;
      case 3: dotItems<u16>(all, batch, row, apart, rows, at); break;
      case 4: dotItems<i32>(all, batch, row, apart, rows, at); break;
      case 5: dotItems<u32>(all, batch, row, apart, rows, at); break;
      case 6: dotItems<f64>(all, batch, row, apart, rows, at); break;
    }
  }
}

// Ways to store scales, as types for the compiler to choose by: f32 is f32, i16 f16, u16 bf16, i32, u32 and f64 f16, bf16 and f32 with zero points of the same kind.
function dotItems<T>(all: Int4, batch: Batch, row: u32, apart: u32, rows: u32, at: u32): void {
  // Two rows at a time, since registers hold no more.
  for (let two: u32 = 0; two < rows; two += 2) {
    const from = row + two * apart, some = min<u32>(2, rows - two);
    let i: u32 = 0;
    for (; i + 1 < batch.count; i += 2) dotPair<T>(all, itemOf(batch, i), itemOf(batch, i + 1), from, apart, some, at + two * apart);
    if (i < batch.count) dotSingle<T>(all, itemOf(batch, i), from, apart, some, at + two * apart);
  }
}

// @ts-ignore: decorator
@inline
function scaleOf<T>(scales: usize, group: u32): v128 {
  const at = scales + group * sizeof<T>();
  if (isFloat<T>()) return v128.load32_splat(at);
  if (isSigned<T>()) return f32x4.splat(widenHalf(load<u16>(at)));
  return i32x4.shl(i32x4.splat(load<u16>(at)), 16);
}

// A group's zero point: as a float, or as an integer where they differ.
// @ts-ignore: decorator
@inline
function zeroOf<T>(scales: usize, group: u32): v128 {
  if (isFloat<T>()) return sizeof<T>() == 8 ? v128.load32_splat(scales + (group << 3), 4) : i32x4.splat(0);
  return sizeof<T>() == 4 ? i32x4.splat(load<u16>(scales + (group << 2), 2)) : i32x4.splat(0);
}

// A group's inputs, as zero points are multiplied by them.
// @ts-ignore: decorator
@inline
function summed<T>(inputs: v128): v128 {
  if (isFloat<T>() && sizeof<T>() == 8) return f32x4.convert_i32x4_s(inputs);
  return isInteger<T>() && sizeof<T>() == 4 ? inputs : i32x4.shl(inputs, 3);
}

// What a group adds to a row's sum: its sum of levels times inputs, less its zero point times the inputs' sum, times the scales of both.
// @ts-ignore: decorator
@inline
function grouped<T>(sum: v128, dots: v128, inputs: v128, scale: v128, zero: v128): v128 {
  if (isFloat<T>() && sizeof<T>() == 8) return madd(f32x4.sub(f32x4.convert_i32x4_s(dots), f32x4.mul(inputs, zero)), scale, sum);
  const above = isInteger<T>() && sizeof<T>() == 4 ? i32x4.mul(inputs, zero) : inputs;
  return madd(f32x4.convert_i32x4_s(i32x4.sub(dots, above)), scale, sum);
}

// Levels · digits of 32 columns, even and odd ones. Four products of 15 · 128 at most fit 16 bits, and so do eight.
// @ts-ignore: decorator
@inline
function pairs(low: v128, high: v128, even: v128, odd: v128): v128 {
  return i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(even, low), i16x8.relaxed_dot_i8x16_i7x16_s(odd, high));
}

// What products of all three digits come to, the first of which count four times what 16 bits hold.
// @ts-ignore: decorator
@inline
function joined(first: v128, second: v128, third: v128, quarter: v128, counts: v128, ones: v128): v128 {
  const most = i32x4.shl(i32x4.dot_i16x8_s(first, quarter), 2);
  return i32x4.add(i32x4.add(most, i32x4.dot_i16x8_s(second, counts)), i32x4.dot_i16x8_s(third, ones));
}

// Whether the next 32 columns share both scales, of weights and of inputs, with those from k on.
// @ts-ignore: decorator
@inline
function goOn(k: u32, left: u32, columns: u32): bool {
  return left > 32 && k + 32 < columns && !(k & SCALED - 32);
}

// Levels of a row times an item's digits: of 32 columns.
// @ts-ignore: decorator
@inline
function halfOf(b: v128, c: v128, p: usize, quarter: v128, counts: v128, ones: v128): v128 {
  const first = pairs(b, c, v128.load(p), v128.load(p, 16));
  const second = pairs(b, c, v128.load(p, 32), v128.load(p, 48));
  return joined(first, second, pairs(b, c, v128.load(p, 64), v128.load(p, 80)), quarter, counts, ones);
}

// Of 64, which lie at p and at q.
// @ts-ignore: decorator
@inline
function both(b: v128, c: v128, f: v128, g: v128, p: usize, q: usize, quarter: v128, counts: v128, ones: v128): v128 {
  const first = i16x8.add(pairs(b, c, v128.load(p), v128.load(p, 16)), pairs(f, g, v128.load(q), v128.load(q, 16)));
  const second = i16x8.add(pairs(b, c, v128.load(p, 32), v128.load(p, 48)), pairs(f, g, v128.load(q, 32), v128.load(q, 48)));
  const third = i16x8.add(pairs(b, c, v128.load(p, 64), v128.load(p, 80)), pairs(f, g, v128.load(q, 64), v128.load(q, 80)));
  return joined(first, second, third, quarter, counts, ones);
}

// One item and two rows, of which the last may be missing.
function dotSingle<T>(all: Int4, item: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group;
  const second = (rows - 1) * apart;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + second * all.rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + second * all.scaleRowBytes;
  const fifteen = constant<bool>(3), quarter = v128.load(CONSTANTS, 32), counts = v128.load(CONSTANTS, 48), ones = constant<bool>(5);
  let a0 = f32x4.splat(0), a1 = a0;
  let p = all.x + item / all.itemsPerInput * all.inputBytes;
  for (let k: u32 = 0, g: u32 = 0, left = group; k < columns; k += 32, p += BLOCK) {
    const u = v128.load(w0 + (k >> 1)), v = v128.load(w1 + (k >> 1));
    const b = v128.and(u, fifteen), c = v128.and(i16x8.shr_u(u, 4), fifteen);
    const d = v128.and(v, fifteen), e = v128.and(i16x8.shr_u(v, 4), fifteen);
    let inputs = v128.load(p, SUMS);
    let i0: v128, i1: v128;
    if (goOn(k, left, columns)) {
      k += 32;
      left -= 32;
      const y = v128.load(w0 + (k >> 1)), z = v128.load(w1 + (k >> 1));
      const f = v128.and(y, fifteen), h = v128.and(i16x8.shr_u(y, 4), fifteen);
      const m = v128.and(z, fifteen), n = v128.and(i16x8.shr_u(z, 4), fifteen);
      i0 = both(b, c, f, h, p, p + BLOCK, quarter, counts, ones);
      i1 = both(d, e, m, n, p, p + BLOCK, quarter, counts, ones);
      p += BLOCK;
      inputs = i32x4.add(inputs, v128.load(p, SUMS));
    } else {
      i0 = halfOf(b, c, p, quarter, counts, ones);
      i1 = halfOf(d, e, p, quarter, counts, ones);
    }
    const sums = summed<T>(inputs), scale = v128.load(p, SCALE);
    a0 = grouped<T>(a0, i0, sums, f32x4.mul(scaleOf<T>(s0, g), scale), zeroOf<T>(s0, g));
    a1 = grouped<T>(a1, i1, sums, f32x4.mul(scaleOf<T>(s1, g), scale), zeroOf<T>(s1, g));
    left -= 32;
    if (left) continue;
    left = group;
    g++;
  }
  put(all, item, row, apart, rows, sumsOf(a0, a1, a0, a1));
}

// Two items and two rows.
function dotPair<T>(all: Int4, item: u32, other: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group;
  const second = (rows - 1) * apart;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + second * all.rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + second * all.scaleRowBytes;
  const fifteen = constant<bool>(3), quarter = v128.load(CONSTANTS, 32), counts = v128.load(CONSTANTS, 48), ones = constant<bool>(5);
  let a0 = f32x4.splat(0), a1 = a0, c0 = a0, c1 = a0;
  let p = all.x + item / all.itemsPerInput * all.inputBytes;
  const toOther = all.x + other / all.itemsPerInput * all.inputBytes - p;
  for (let k: u32 = 0, g: u32 = 0, left = group; k < columns; k += 32, p += BLOCK) {
    const u = v128.load(w0 + (k >> 1)), v = v128.load(w1 + (k >> 1));
    const b = v128.and(u, fifteen), c = v128.and(i16x8.shr_u(u, 4), fifteen);
    const d = v128.and(v, fifteen), e = v128.and(i16x8.shr_u(v, 4), fifteen);
    let q = p + toOther;
    let inputs = v128.load(p, SUMS), others = v128.load(q, SUMS);
    let i0: v128, i1: v128, j0: v128, j1: v128;
    if (goOn(k, left, columns)) {
      k += 32;
      left -= 32;
      const y = v128.load(w0 + (k >> 1)), z = v128.load(w1 + (k >> 1));
      const f = v128.and(y, fifteen), h = v128.and(i16x8.shr_u(y, 4), fifteen);
      const m = v128.and(z, fifteen), n = v128.and(i16x8.shr_u(z, 4), fifteen);
      i0 = both(b, c, f, h, p, p + BLOCK, quarter, counts, ones);
      j0 = both(b, c, f, h, q, q + BLOCK, quarter, counts, ones);
      i1 = both(d, e, m, n, p, p + BLOCK, quarter, counts, ones);
      j1 = both(d, e, m, n, q, q + BLOCK, quarter, counts, ones);
      p += BLOCK;
      q += BLOCK;
      inputs = i32x4.add(inputs, v128.load(p, SUMS));
      others = i32x4.add(others, v128.load(q, SUMS));
    } else {
      i0 = halfOf(b, c, p, quarter, counts, ones);
      j0 = halfOf(b, c, q, quarter, counts, ones);
      i1 = halfOf(d, e, p, quarter, counts, ones);
      j1 = halfOf(d, e, q, quarter, counts, ones);
    }
    const sums = summed<T>(inputs), sumsOfOther = summed<T>(others), scale = v128.load(p, SCALE), scaleOfOther = v128.load(q, SCALE);
    const scale0 = scaleOf<T>(s0, g), zero0 = zeroOf<T>(s0, g);
    a0 = grouped<T>(a0, i0, sums, f32x4.mul(scale0, scale), zero0);
    c0 = grouped<T>(c0, j0, sumsOfOther, f32x4.mul(scale0, scaleOfOther), zero0);
    const scale1 = scaleOf<T>(s1, g), zero1 = zeroOf<T>(s1, g);
    a1 = grouped<T>(a1, i1, sums, f32x4.mul(scale1, scale), zero1);
    c1 = grouped<T>(c1, j1, sumsOfOther, f32x4.mul(scale1, scaleOfOther), zero1);
    left -= 32;
    if (left) continue;
    left = group;
    g++;
  }
  const sums = sumsOf(a0, a1, c0, c1);
  put(all, item, row, apart, rows, sums);
  put(all, other, row, apart, rows, v128.shuffle<f64>(sums, sums, 1, 1));
}
