// Linear layers of four or eight bits as checkpoints have them, which are multiplied as they stand for: inputs are not rounded to eight bits.
import { madd } from "../device/wasm/madd";
import { constant, largestOf, loadFew, sumsOf, widenHalf } from "../device/wasm/simd";
import { floatZero, hasFloatZeros, int4Scale, int4Zero } from "../device/wasm/int4";
import { itemOf, multiplyWidened, put, widenedBytes } from "./floats";
import { Batch, Linear } from "./linear";
import { apartOf, firstOf, rowsOf } from "./row_order";

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
  const stride = widenedBytes(all);
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = firstOf(all, piece % fours, 2), apart = apartOf(all, row, 2), rows = rowsOf(all, row, apart, 2);
    const at = batch.firstRow + row;
    for (let r: u32 = 0; r < rows; r++) {
      const from = at + r * apart;
      widen(all, all.weights + from * all.rowBytes, all.scales + from * all.scaleRowBytes, scratch + r * stride);
    }
    multiplyWidened(all, batch, row, apart, rows, scratch, 0);
  }
}

// The number of int8 among storage formats.
// @ts-ignore: decorator
@inline
const EIGHT_BITS: u32 = 7;

// A row as f32, and up to twelve values more.
function widen(all: Int4, row: usize, scales: usize, to: usize): void {
  const columns = all.columns, eightBits = all.format == EIGHT_BITS, fifteen = constant<bool>(3);
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + all.group, columns);
    const by = f32x4.splat(int4Scale(all.scaling, scales, g));
    if (hasFloatZeros(all.scaling)) {
      const zero = f32x4.splat(floatZero(scales, g));
      for (; k < end; k += 16) {
        const bytes = eightBits ? v128.load(row + k) : levels(row, k, fifteen);
        const low = i16x8.extend_low_i8x16_s(bytes), high = i16x8.extend_high_i8x16_s(bytes), at = to + (k << 2);
        v128.store(at, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), zero), by));
        v128.store(at, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), zero), by), 16);
        v128.store(at, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), zero), by), 32);
        v128.store(at, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), zero), by), 48);
      }
      continue;
    }
    const zero = i8x16.splat(eightBits ? 0 : <i8>int4Zero(all.scaling, scales, g));
    for (; k < end; k += 16) {
      const bytes = i8x16.sub(eightBits ? v128.load(row + k) : levels(row, k, fifteen), zero);
      const low = i16x8.extend_low_i8x16_s(bytes), high = i16x8.extend_high_i8x16_s(bytes), at = to + (k << 2);
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), by));
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), by), 16);
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), by), 32);
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), by), 48);
    }
  }
}

// @ts-ignore: decorator
@unmanaged
class Split {
  x: usize;
  y: usize;
  columns: u32;
  inputBytes: u32;
  outputBytes: u32;
}

// Four values of a row, zeros beyond its end.
// @ts-ignore: decorator
@inline
function fourOf(x: usize, k: u32, columns: u32): v128 {
  if (k + 4 <= columns) return v128.load(x + (k << 2));
  return k < columns ? loadFew(x + (k << 2), columns - k) : f32x4.splat(0);
}

// Splits rows into two numbers of 16 bits each, (upper + lower / 2¹⁶) · scale, which is no less than f32 has of a row's largest. They lie as levels do in words of 16
// bytes: of 32 columns, those of every first, second, third and fourth nibble of 16 bits, the upper numbers before the lower ones. The scale is behind the row.
export function split(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Split>(args);
  const columns = all.columns, padded = columns + 31 & ~31;
  const wide = f32x4.splat(65536);
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes, y = all.y + row * all.outputBytes;
    let most = f32x4.splat(0);
    for (let c: u32 = 0; c < columns; c += 4) most = f32x4.pmax(most, f32x4.abs(fourOf(x, c, columns)));
    const scale = largestOf(most) / 32767;
    const by = f32x4.splat(scale == 0 ? 0 : 1 / scale);
    for (let c: u32 = 0; c < padded; c += 4) {
      const value = f32x4.mul(fourOf(x, c, columns), by);
      const whole = f32x4.nearest(value);
      const rest = f32x4.nearest(f32x4.mul(f32x4.sub(value, whole), wide));
      const upper = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(whole), i32x4.trunc_sat_f32x4_s(rest));
      const to = y + ((c & ~31) << 2) + ((c & 31) >> 1);
      v128.store16_lane(to, upper, 0);
      v128.store16_lane(to, upper, 1, 16);
      v128.store16_lane(to, upper, 2, 32);
      v128.store16_lane(to, upper, 3, 48);
      v128.store16_lane(to, upper, 4, 64);
      v128.store16_lane(to, upper, 5, 80);
      v128.store16_lane(to, upper, 6, 96);
      v128.store16_lane(to, upper, 7, 112);
    }
    store<f32>(y + (padded << 2), scale);
  }
}

// Of few rows, inputs are split: sums of integers are exact, and those of groups are added in order.
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
    }
  }
}

// Ways to store scales, as types for the compiler to choose by: f32 is f32, i16 f16, u16 bf16, i32 and u32 the same with zero points.
function dotItems<T>(all: Int4, batch: Batch, row: u32, apart: u32, rows: u32, at: u32): void {
  let i: u32 = 0;
  for (; i + 1 < batch.count; i += 2) dotPair<T>(all, itemOf(batch, i), itemOf(batch, i + 1), row, apart, rows, at);
  if (i < batch.count) dotSingle<T>(all, itemOf(batch, i), row, apart, rows, at);
}

// @ts-ignore: decorator
@inline
function scaleOf<T>(scales: usize, group: u32): v128 {
  const at = scales + group * sizeof<T>();
  if (isFloat<T>()) return v128.load32_splat(at);
  if (isSigned<T>()) return f32x4.splat(widenHalf(load<u16>(at)));
  return i32x4.shl(i32x4.splat(load<u16>(at)), 16);
}

// @ts-ignore: decorator
@inline
function zeroOf<T>(scales: usize, group: u32, eight: v128): v128 {
  return isInteger<T>() && sizeof<T>() == 4 ? v128.load16_splat(scales + (group << 2), 2) : eight;
}

// Sums of integers of 2048 columns do not overflow: bits of a column that ends as many.
// @ts-ignore: decorator
@inline
const FULL: u32 = 2048 - 32;

// Loaded once, see simd.as: 15 in every half of a word, 2⁻¹⁶, and 8.
const CONSTANTS = memory.data<u32>([0x000f000f, 0x000f000f, 0x000f000f, 0x000f000f, 0x37800000, 0x37800000, 0x37800000, 0x37800000, 0x00080008, 0x00080008, 0x00080008, 0x00080008], 16);

// Every first, second, third or fourth nibble of 16 bits, less the zero point.
// @ts-ignore: decorator
@inline
function nibbles(words: v128, which: i32, fifteen: v128, zero: v128): v128 {
  if (which == 0) return i16x8.sub(v128.and(words, fifteen), zero);
  if (which == 3) return i16x8.sub(i16x8.shr_u(words, 12), zero);
  return i16x8.sub(v128.and(i16x8.shr_u(words, which << 2), fifteen), zero);
}

// @ts-ignore: decorator
@inline
function dots(sum: v128, a: v128, b: v128, c: v128, d: v128, x: usize): v128 {
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(a, v128.load(x)));
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(b, v128.load(x, 16)));
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(c, v128.load(x, 32)));
  return i32x4.add(sum, i32x4.dot_i16x8_s(d, v128.load(x, 48)));
}

// @ts-ignore: decorator
@inline
function joined(upper: v128, lower: v128, small: v128): v128 {
  return madd(f32x4.convert_i32x4_s(lower), small, f32x4.convert_i32x4_s(upper));
}

// Two rows at a time, since registers hold no more.
function dotSingle<T>(all: Int4, item: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group;
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const by = v128.load32_splat(x + ((columns + 31 & ~31) << 2));
  const fifteen = v128.load(CONSTANTS), small = v128.load(CONSTANTS, 16), eight = v128.load(CONSTANTS, 32), none = i32x4.splat(0);
  let sums0 = f32x4.splat(0);
  for (let half: u32 = 0; half < rows; half += 2) {
    const w0 = all.weights + (at + half * apart) * all.rowBytes, w1 = half + 1 < rows ? w0 + apart * all.rowBytes : w0;
    const s0 = all.scales + (at + half * apart) * all.scaleRowBytes, s1 = half + 1 < rows ? s0 + apart * all.scaleRowBytes : s0;
    let a0 = f32x4.splat(0), a1 = a0;
    let i0 = none, i1 = none, j0 = none, j1 = none;
    let z0 = zeroOf<T>(s0, 0, eight), z1 = zeroOf<T>(s1, 0, eight);
    for (let k: u32 = 0, g: u32 = 0, left = group; k < columns; k += 32) {
      const p = x + (k << 2);
      const u = v128.load(w0 + (k >> 1));
      const a = nibbles(u, 0, fifteen, z0), b = nibbles(u, 1, fifteen, z0), c = nibbles(u, 2, fifteen, z0), d = nibbles(u, 3, fifteen, z0);
      i0 = dots(i0, a, b, c, d, p);
      j0 = dots(j0, a, b, c, d, p + 64);
      const v = v128.load(w1 + (k >> 1));
      const e = nibbles(v, 0, fifteen, z1), f = nibbles(v, 1, fifteen, z1), m = nibbles(v, 2, fifteen, z1), n = nibbles(v, 3, fifteen, z1);
      i1 = dots(i1, e, f, m, n, p);
      j1 = dots(j1, e, f, m, n, p + 64);
      left -= 32;
      const last = k + 32 >= columns;
      if (left && !last && k & FULL ^ FULL) continue;
      a0 = madd(joined(i0, j0, small), scaleOf<T>(s0, g), a0);
      a1 = madd(joined(i1, j1, small), scaleOf<T>(s1, g), a1);
      i0 = i1 = j0 = j1 = none;
      if (left || last) continue;
      left = group;
      g++;
      z0 = zeroOf<T>(s0, g, eight);
      z1 = zeroOf<T>(s1, g, eight);
    }
    const two = f32x4.mul(sumsOf(a0, a1, a0, a1), by);
    if (half == 0) {
      sums0 = two;
      if (rows <= 2) put(all, item, row, apart, rows, two);
    } else put(all, item, row, apart, rows, v128.shuffle<i32>(sums0, two, 0, 1, 4, 5));
  }
}

function dotPair<T>(all: Int4, item: u32, other: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, group = all.group;
  const x = all.x + item / all.itemsPerInput * all.inputBytes, z = all.x + other / all.itemsPerInput * all.inputBytes;
  const toScale = (columns + 31 & ~31) << 2;
  const by = v128.load32_splat(x + toScale), to = v128.load32_splat(z + toScale);
  const fifteen = v128.load(CONSTANTS), small = v128.load(CONSTANTS, 16), eight = v128.load(CONSTANTS, 32), none = i32x4.splat(0);
  let sums0 = f32x4.splat(0), others0 = sums0;
  for (let half: u32 = 0; half < rows; half += 2) {
    const w0 = all.weights + (at + half * apart) * all.rowBytes, w1 = half + 1 < rows ? w0 + apart * all.rowBytes : w0;
    const s0 = all.scales + (at + half * apart) * all.scaleRowBytes, s1 = half + 1 < rows ? s0 + apart * all.scaleRowBytes : s0;
    let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0;
    let i0 = none, i1 = none, j0 = none, j1 = none, m0 = none, m1 = none, n0 = none, n1 = none;
    let z0 = zeroOf<T>(s0, 0, eight), z1 = zeroOf<T>(s1, 0, eight);
    for (let k: u32 = 0, g: u32 = 0, left = group; k < columns; k += 32) {
      const p = x + (k << 2), q = z + (k << 2);
      const u = v128.load(w0 + (k >> 1));
      const a = nibbles(u, 0, fifteen, z0), b = nibbles(u, 1, fifteen, z0), c = nibbles(u, 2, fifteen, z0), d = nibbles(u, 3, fifteen, z0);
      i0 = dots(i0, a, b, c, d, p);
      j0 = dots(j0, a, b, c, d, p + 64);
      m0 = dots(m0, a, b, c, d, q);
      n0 = dots(n0, a, b, c, d, q + 64);
      const v = v128.load(w1 + (k >> 1));
      const e = nibbles(v, 0, fifteen, z1), f = nibbles(v, 1, fifteen, z1), m = nibbles(v, 2, fifteen, z1), n = nibbles(v, 3, fifteen, z1);
      i1 = dots(i1, e, f, m, n, p);
      j1 = dots(j1, e, f, m, n, p + 64);
      m1 = dots(m1, e, f, m, n, q);
      n1 = dots(n1, e, f, m, n, q + 64);
      left -= 32;
      const last = k + 32 >= columns;
      if (left && !last && k & FULL ^ FULL) continue;
      const g0 = scaleOf<T>(s0, g), g1 = scaleOf<T>(s1, g);
      a0 = madd(joined(i0, j0, small), g0, a0);
      a1 = madd(joined(i1, j1, small), g1, a1);
      b0 = madd(joined(m0, n0, small), g0, b0);
      b1 = madd(joined(m1, n1, small), g1, b1);
      i0 = i1 = j0 = j1 = m0 = m1 = n0 = n1 = none;
      if (left || last) continue;
      left = group;
      g++;
      z0 = zeroOf<T>(s0, g, eight);
      z1 = zeroOf<T>(s1, g, eight);
    }
    const two = f32x4.mul(sumsOf(a0, a1, a0, a1), by), twoOthers = f32x4.mul(sumsOf(b0, b1, b0, b1), to);
    if (half == 0) {
      sums0 = two;
      others0 = twoOthers;
      if (rows > 2) continue;
      put(all, item, row, apart, rows, two);
      put(all, other, row, apart, rows, twoOthers);
    } else {
      put(all, item, row, apart, rows, v128.shuffle<i32>(sums0, two, 0, 1, 4, 5));
      put(all, other, row, apart, rows, v128.shuffle<i32>(others0, twoOthers, 0, 1, 4, 5));
    }
  }
}
