// Linear layers of four or eight bits as checkpoints have them, which are multiplied as they stand for: inputs are not rounded to eight bits.
import { madd } from "../device/wasm/madd";
import { constant, loadFew, sumsOf } from "../device/wasm/simd";
import { floatZero, hasFloatZeros, int4Scale, int4Zero } from "../device/wasm/int4";
import { itemOf, multiplyWidened, put, ROWS, widenedBytes } from "./floats";
import { Batch, copyOnce, Linear } from "./linear";
import { apartOf, firstOf, rowsOf } from "./row_order";
import { multiplyBeside } from "./wide";

// @ts-ignore: decorator
@unmanaged
export class Int4 extends Linear {
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

// Items from which on weights are widened into memory first, which takes as long as multiplying two items.
// @ts-ignore: decorator
@inline
const WORTH_WIDENING: u32 = 3;

// A piece is four rows of one batch. Of several items, weights are widened first, into memory, with the same bits. What is widened beyond the last column is multiplied by
// zeros.
export function linearInt4(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Int4>(args);
  const fours = (all.rows + 3) >> 2;
  const stride = widenedBytes(all);
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = firstOf(all, piece % fours, 2), apart = apartOf(all, row, 2), rows = rowsOf(all, row, apart, 2);
    const at = batch.firstRow + row;
    if (batch.count < WORTH_WIDENING) {
      multiplyLevels(all, batch, row, apart, rows, at);
      continue;
    }
    for (let r: u32 = 0; r < rows; r++) {
      const from = at + r * apart;
      widen(all, all.weights + from * all.rowBytes, all.scales + from * all.scaleRowBytes, scratch + ROWS + r * stride);
    }
    if (all.wide) {
      copyOnce(all, batch, scratch);
      multiplyBeside(all, batch, row, apart, rows, scratch + ROWS, stride, false, scratch);
    } else multiplyWidened(all, batch, row, apart, rows, scratch + ROWS, 0);
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

// Of few items, weights are widened in registers. How, as types for the compiler to choose by: i8 is int8, bool int4, and i16 and u16 the same with zero points that are
// floats.
function multiplyLevels(all: Int4, batch: Batch, row: u32, apart: u32, rows: u32, at: u32): void {
  const eightBits = all.format == EIGHT_BITS;
  if (hasFloatZeros(all.scaling)) eightBits ? fewItems<i16>(all, batch, row, apart, rows, at) : fewItems<u16>(all, batch, row, apart, rows, at);
  else eightBits ? fewItems<i8>(all, batch, row, apart, rows, at) : fewItems<bool>(all, batch, row, apart, rows, at);
}

function fewItems<T>(all: Int4, batch: Batch, row: u32, apart: u32, rows: u32, at: u32): void {
  let i: u32 = 0;
  for (; i + 1 < batch.count; i += 2) {
    twoItems<T>(all, itemOf(batch, i), itemOf(batch, i + 1), row, apart, min<u32>(2, rows), at);
    if (rows > 2) twoItems<T>(all, itemOf(batch, i), itemOf(batch, i + 1), row + 2 * apart, apart, rows - 2, at + 2 * apart);
  }
  if (i < batch.count) oneItem<T>(all, itemOf(batch, i), row, apart, rows, at);
}

// Sixteen levels less their zero point, where that is an integer.
// @ts-ignore: decorator
@inline
function sixteen<T>(row: usize, k: u32, zero: v128, fifteen: v128): v128 {
  if (isSigned<T>()) return v128.load(row + k);
  return isBoolean<T>() ? i8x16.sub(levels(row, k, fifteen), zero) : levels(row, k, fifteen);
}

// A group's zero point, as levels or as what they become.
// @ts-ignore: decorator
@inline
function zeroPoint<T>(all: Int4, scales: usize, group: u32): v128 {
  if (sizeof<T>() == 2) return v128.load32_splat(scales + (group << 3), 4);
  return i8x16.splat(isSigned<T>() ? 0 : <i8>int4Zero(all.scaling, scales, group));
}

// Four weights of eight levels in 16 bits.
// @ts-ignore: decorator
@inline
function lower<T>(eight: v128, zero: v128, by: v128): v128 {
  return weightsOf<T>(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(eight)), zero, by);
}

// @ts-ignore: decorator
@inline
function upper<T>(eight: v128, zero: v128, by: v128): v128 {
  return weightsOf<T>(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(eight)), zero, by);
}

// @ts-ignore: decorator
@inline
function weightsOf<T>(levels: v128, zero: v128, by: v128): v128 {
  return f32x4.mul(sizeof<T>() == 2 ? f32x4.sub(levels, zero) : levels, by);
}

// sum + weights · inputs, of sixteen columns in order.
// @ts-ignore: decorator
@inline
function added<T>(sum: v128, levels: v128, zero: v128, by: v128, p: v128, q: v128, r: v128, s: v128): v128 {
  const low = i16x8.extend_low_i8x16_s(levels), high = i16x8.extend_high_i8x16_s(levels);
  const half = madd(upper<T>(low, zero, by), q, madd(lower<T>(low, zero, by), p, sum));
  return madd(upper<T>(high, zero, by), s, madd(lower<T>(high, zero, by), r, half));
}

// One item and four rows.
function oneItem<T>(all: Int4, item: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, fifteen = constant<bool>(3);
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const r1 = min<u32>(1, rows - 1) * apart, r2 = min<u32>(2, rows - 1) * apart, r3 = (rows - 1) * apart;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + r1 * all.rowBytes, w2 = w0 + r2 * all.rowBytes, w3 = w0 + r3 * all.rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + r1 * all.scaleRowBytes, s2 = s0 + r2 * all.scaleRowBytes, s3 = s0 + r3 * all.scaleRowBytes;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + all.group, columns);
    const b0 = f32x4.splat(int4Scale(all.scaling, s0, g)), b1 = f32x4.splat(int4Scale(all.scaling, s1, g));
    const b2 = f32x4.splat(int4Scale(all.scaling, s2, g)), b3 = f32x4.splat(int4Scale(all.scaling, s3, g));
    const z0 = zeroPoint<T>(all, s0, g), z1 = zeroPoint<T>(all, s1, g), z2 = zeroPoint<T>(all, s2, g), z3 = zeroPoint<T>(all, s3, g);
    for (; k < end; k += 16) {
      const p = fourOf(x, k, columns), q = fourOf(x, k + 4, columns), r = fourOf(x, k + 8, columns), s = fourOf(x, k + 12, columns);
      a0 = added<T>(a0, sixteen<T>(w0, k, z0, fifteen), z0, b0, p, q, r, s);
      a1 = added<T>(a1, sixteen<T>(w1, k, z1, fifteen), z1, b1, p, q, r, s);
      a2 = added<T>(a2, sixteen<T>(w2, k, z2, fifteen), z2, b2, p, q, r, s);
      a3 = added<T>(a3, sixteen<T>(w3, k, z3, fifteen), z3, b3, p, q, r, s);
    }
  }
  put(all, item, row, apart, rows, sumsOf(a0, a1, a2, a3));
}

// Two items and two rows, of which the last may be missing.
function twoItems<T>(all: Int4, item: u32, other: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const columns = all.columns, fifteen = constant<bool>(3);
  const x = all.x + item / all.itemsPerInput * all.inputBytes, y = all.x + other / all.itemsPerInput * all.inputBytes;
  const r1 = (rows - 1) * apart;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + r1 * all.rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + r1 * all.scaleRowBytes;
  let a0 = f32x4.splat(0), a1 = a0, c0 = a0, c1 = a0;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + all.group, columns);
    const b0 = f32x4.splat(int4Scale(all.scaling, s0, g)), b1 = f32x4.splat(int4Scale(all.scaling, s1, g));
    const z0 = zeroPoint<T>(all, s0, g), z1 = zeroPoint<T>(all, s1, g);
    for (; k < end; k += 16) {
      for (let half: u32 = 0; half < 16; half += 8) {
        const u = eightOf<T>(w0, k, half, z0, fifteen), v = eightOf<T>(w1, k, half, z1, fifteen);
        const at = k + half;
        const d = lower<T>(u, z0, b0), e = lower<T>(v, z1, b1), p = fourOf(x, at, columns), q = fourOf(y, at, columns);
        a0 = madd(d, p, a0);
        a1 = madd(e, p, a1);
        c0 = madd(d, q, c0);
        c1 = madd(e, q, c1);
        const f = upper<T>(u, z0, b0), h = upper<T>(v, z1, b1), r = fourOf(x, at + 4, columns), s = fourOf(y, at + 4, columns);
        a0 = madd(f, r, a0);
        a1 = madd(h, r, a1);
        c0 = madd(f, s, c0);
        c1 = madd(h, s, c1);
      }
    }
  }
  const sums = sumsOf(a0, a1, c0, c1);
  put(all, item, row, apart, rows, sums);
  put(all, other, row, apart, rows, v128.shuffle<f64>(sums, sums, 1, 1));
}

// Eight levels in 16 bits, of a row's sixteen from k on.
// @ts-ignore: decorator
@inline
function eightOf<T>(row: usize, k: u32, half: u32, zero: v128, fifteen: v128): v128 {
  if (isSigned<T>()) return v128.load8x8_s(row + k + half);
  const bytes = v128.load32_zero(row + (k + half >> 1));
  const low = v128.and(bytes, fifteen), high = v128.and(i16x8.shr_u(bytes, 4), fifteen);
  const eight = i16x8.extend_low_i8x16_u(v128.shuffle<i8>(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  return isBoolean<T>() ? i16x8.sub(eight, i16x8.extend_low_i8x16_s(zero)) : eight;
}

// Four values of a row, zeros beyond its end.
// @ts-ignore: decorator
@inline
export function fourOf(x: usize, k: u32, columns: u32): v128 {
  if (k + 4 <= columns) return v128.load(x + (k << 2));
  return k < columns ? loadFew(x + (k << 2), columns - k) : f32x4.splat(0);
}
