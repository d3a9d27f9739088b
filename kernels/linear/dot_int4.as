// Linear layers of four bits as checkpoints have them, of few rows: inputs become integers of 22 bits, as three bytes, and products of bytes are what processors are
// quickest at. Sums of a group are exact, in whatever order; groups are added in order.
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

// Bytes of 32 columns of an input, and where among them the sums lie.
// @ts-ignore: decorator
@inline
const BLOCK: usize = 112, SUMS: usize = 96;

// The largest integer: 127 in the first of three digits to the base 128, which may fill its byte. Sums of 64 such times 16 fit 32 bits.
// @ts-ignore: decorator
@inline
const LARGEST: f32 = 127 * 128 * 128;

// Loaded once, see simd.as: 64, 127; and what digits count, which lie in 16 bits.
const CONSTANTS = memory.data<u32>([
  64, 64, 64, 64, 127, 127, 127, 127, 0x40004000, 0x40004000, 0x40004000, 0x40004000, 0x00800080, 0x00800080, 0x00800080, 0x00800080,
], 16);

// @ts-ignore: decorator
@inline
function whole(x: usize, k: u32, columns: u32, by: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(fourOf(x, k, columns), by)));
}

// The last digit of four numbers, balanced: −64 … 63.
// @ts-ignore: decorator
@inline
function digit(value: v128, sixtyFour: v128, ones: v128): v128 {
  return i32x4.sub(v128.and(i32x4.add(value, sixtyFour), ones), sixtyFour);
}

// What is left of it.
// @ts-ignore: decorator
@inline
function rest(value: v128, sixtyFour: v128): v128 {
  return i32x4.shr_s(i32x4.add(value, sixtyFour), 7);
}

// Digits of 32 columns as bytes, those of even columns before those of odd ones.
// @ts-ignore: decorator
@inline
function put32(to: usize, ab: v128, de: v128, fg: v128, hi: v128): void {
  const low = i8x16.narrow_i16x8_s(ab, de), high = i8x16.narrow_i16x8_s(fg, hi);
  v128.store(to, v128.shuffle<i8>(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
  v128.store(to, v128.shuffle<i8>(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), 16);
}

// Splits rows into integers times the row's scale, which is behind them, and those into digits of one byte. Of 32 columns, first digits of even and of odd ones, as
// nibbles lie, then second and third ones, then the integers' sums, as four lanes.
export function split(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Split>(args);
  const columns = all.columns;
  const sixtyFour = v128.load(CONSTANTS), ones = v128.load(CONSTANTS, 16);
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes;
    let to = all.y + row * all.outputBytes;
    let most = f32x4.splat(0);
    for (let c: u32 = 0; c < columns; c += 4) most = f32x4.max(most, f32x4.abs(fourOf(x, c, columns)));
    const scale = largestOf(most) / LARGEST;
    // What is less has no reciprocal.
    const by = f32x4.splat(scale < 1e-37 ? 0 : 1 / scale);
    for (let c: u32 = 0; c < columns; c += 32, to += BLOCK) {
      let a = whole(x, c, columns, by), b = whole(x, c + 4, columns, by), d = whole(x, c + 8, columns, by), e = whole(x, c + 12, columns, by);
      let f = whole(x, c + 16, columns, by), g = whole(x, c + 20, columns, by), h = whole(x, c + 24, columns, by), i = whole(x, c + 28, columns, by);
      const half = i32x4.add(i32x4.add(a, b), i32x4.add(d, e));
      v128.store(to, i32x4.add(half, i32x4.add(i32x4.add(f, g), i32x4.add(h, i))), SUMS);
      for (let at: usize = 64; at > 0; at -= 32) {
        put32(
          to + at,
          i16x8.narrow_i32x4_s(digit(a, sixtyFour, ones), digit(b, sixtyFour, ones)),
          i16x8.narrow_i32x4_s(digit(d, sixtyFour, ones), digit(e, sixtyFour, ones)),
          i16x8.narrow_i32x4_s(digit(f, sixtyFour, ones), digit(g, sixtyFour, ones)),
          i16x8.narrow_i32x4_s(digit(h, sixtyFour, ones), digit(i, sixtyFour, ones)),
        );
        a = rest(a, sixtyFour);
        b = rest(b, sixtyFour);
        d = rest(d, sixtyFour);
        e = rest(e, sixtyFour);
        f = rest(f, sixtyFour);
        g = rest(g, sixtyFour);
        h = rest(h, sixtyFour);
        i = rest(i, sixtyFour);
      }
      put32(to, i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(d, e), i16x8.narrow_i32x4_s(f, g), i16x8.narrow_i32x4_s(h, i));
    }
    store<f32>(to, scale);
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

// What a group adds to a row's sum: its sum of levels times inputs, less its zero point times the inputs' sum, times its scale.
// @ts-ignore: decorator
@inline
function grouped<T>(sum: v128, dots: v128, inputs: v128, scale: v128, zero: v128): v128 {
  if (isFloat<T>() && sizeof<T>() == 8) return madd(f32x4.sub(f32x4.convert_i32x4_s(dots), f32x4.mul(inputs, zero)), scale, sum);
  const above = isInteger<T>() && sizeof<T>() == 4 ? i32x4.mul(inputs, zero) : inputs;
  return madd(f32x4.convert_i32x4_s(i32x4.sub(dots, above)), scale, sum);
}

// sum + levels · digits, of even and of odd columns, times what digits count. Two times two products of 15 · 127 at most fit 16 bits.
// @ts-ignore: decorator
@inline
function dots(sum: v128, low: v128, high: v128, even: v128, odd: v128, counts: v128): v128 {
  const pairs = i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(even, low), i16x8.relaxed_dot_i8x16_i7x16_s(odd, high));
  return i32x4.add(sum, i32x4.dot_i16x8_s(pairs, counts));
}

// Sums of integers of 256 columns do not overflow: bits of a column that ends as many.
// @ts-ignore: decorator
@inline
const FULL: u32 = 256 - 32;

// One item and two rows, of which the last may be missing.
function dotSingle<T>(all: Int4, item: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group;
  const second = (rows - 1) * apart;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + second * all.rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + second * all.scaleRowBytes;
  const fifteen = constant<bool>(3), most = v128.load(CONSTANTS, 32), more = v128.load(CONSTANTS, 48), least = constant<bool>(5), none = i32x4.splat(0);
  let a0 = f32x4.splat(0), a1 = a0;
  let i0 = none, i1 = none, inputs = none;
  let p = all.x + item / all.itemsPerInput * all.inputBytes;
  for (let k: u32 = 0, g: u32 = 0, left = group; k < columns; k += 32, p += BLOCK) {
    const u = v128.load(w0 + (k >> 1)), v = v128.load(w1 + (k >> 1));
    const b = v128.and(u, fifteen), c = v128.and(i16x8.shr_u(u, 4), fifteen);
    const d = v128.and(v, fifteen), e = v128.and(i16x8.shr_u(v, 4), fifteen);
    const x0 = v128.load(p), x1 = v128.load(p, 16);
    i0 = dots(i0, b, c, x0, x1, most);
    i1 = dots(i1, d, e, x0, x1, most);
    const x2 = v128.load(p, 32), x3 = v128.load(p, 48);
    i0 = dots(i0, b, c, x2, x3, more);
    i1 = dots(i1, d, e, x2, x3, more);
    const x4 = v128.load(p, 64), x5 = v128.load(p, 80);
    i0 = dots(i0, b, c, x4, x5, least);
    i1 = dots(i1, d, e, x4, x5, least);
    inputs = i32x4.add(inputs, v128.load(p, SUMS));
    left -= 32;
    if (left && k + 32 < columns && k & FULL ^ FULL) continue;
    const sums = summed<T>(inputs);
    a0 = grouped<T>(a0, i0, sums, scaleOf<T>(s0, g), zeroOf<T>(s0, g));
    a1 = grouped<T>(a1, i1, sums, scaleOf<T>(s1, g), zeroOf<T>(s1, g));
    i0 = i1 = inputs = none;
    if (left) continue;
    left = group;
    g++;
  }
  put(all, item, row, apart, rows, f32x4.mul(sumsOf(a0, a1, a0, a1), v128.load32_splat(p)));
}

// Two items and two rows.
function dotPair<T>(all: Int4, item: u32, other: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group;
  const second = (rows - 1) * apart;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + second * all.rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + second * all.scaleRowBytes;
  const fifteen = constant<bool>(3), most = v128.load(CONSTANTS, 32), more = v128.load(CONSTANTS, 48), least = constant<bool>(5), none = i32x4.splat(0);
  let a0 = f32x4.splat(0), a1 = a0, c0 = a0, c1 = a0;
  let i0 = none, i1 = none, j0 = none, j1 = none, inputs = none, others = none;
  let p = all.x + item / all.itemsPerInput * all.inputBytes;
  const toOther = all.x + other / all.itemsPerInput * all.inputBytes - p;
  for (let k: u32 = 0, g: u32 = 0, left = group; k < columns; k += 32, p += BLOCK) {
    const u = v128.load(w0 + (k >> 1)), v = v128.load(w1 + (k >> 1));
    const b = v128.and(u, fifteen), c = v128.and(i16x8.shr_u(u, 4), fifteen);
    const d = v128.and(v, fifteen), e = v128.and(i16x8.shr_u(v, 4), fifteen);
    const q = p + toOther;
    const x0 = v128.load(p), x1 = v128.load(p, 16), y0 = v128.load(q), y1 = v128.load(q, 16);
    i0 = dots(i0, b, c, x0, x1, most);
    i1 = dots(i1, d, e, x0, x1, most);
    j0 = dots(j0, b, c, y0, y1, most);
    j1 = dots(j1, d, e, y0, y1, most);
    const x2 = v128.load(p, 32), x3 = v128.load(p, 48), y2 = v128.load(q, 32), y3 = v128.load(q, 48);
    i0 = dots(i0, b, c, x2, x3, more);
    i1 = dots(i1, d, e, x2, x3, more);
    j0 = dots(j0, b, c, y2, y3, more);
    j1 = dots(j1, d, e, y2, y3, more);
    const x4 = v128.load(p, 64), x5 = v128.load(p, 80), y4 = v128.load(q, 64), y5 = v128.load(q, 80);
    i0 = dots(i0, b, c, x4, x5, least);
    i1 = dots(i1, d, e, x4, x5, least);
    j0 = dots(j0, b, c, y4, y5, least);
    j1 = dots(j1, d, e, y4, y5, least);
    inputs = i32x4.add(inputs, v128.load(p, SUMS));
    others = i32x4.add(others, v128.load(q, SUMS));
    left -= 32;
    if (left && k + 32 < columns && k & FULL ^ FULL) continue;
    const sums = summed<T>(inputs), sumsOfOther = summed<T>(others);
    const scale0 = scaleOf<T>(s0, g), zero0 = zeroOf<T>(s0, g);
    a0 = grouped<T>(a0, i0, sums, scale0, zero0);
    c0 = grouped<T>(c0, j0, sumsOfOther, scale0, zero0);
    const scale1 = scaleOf<T>(s1, g), zero1 = zeroOf<T>(s1, g);
    a1 = grouped<T>(a1, i1, sums, scale1, zero1);
    c1 = grouped<T>(c1, j1, sumsOfOther, scale1, zero1);
    i0 = i1 = j0 = j1 = inputs = others = none;
    if (left) continue;
    left = group;
    g++;
  }
  const both = f32x4.mul(sumsOf(a0, a1, c0, c1), v128.shuffle<f32>(v128.load32_splat(p), v128.load32_splat(p + toOther), 0, 1, 4, 5));
  put(all, item, row, apart, rows, both);
  put(all, other, row, apart, rows, v128.shuffle<f64>(both, both, 1, 1));
}
