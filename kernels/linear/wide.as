// Products of rows and some items where V8 makes one instruction of eight floats out of two of four that lie beside each other (core/wide_kernels.ts): of two items, whose
// inputs are copied so. The same sums in the same order as elsewhere. Four rows by four items are as many sums as fill the registers, and as an instruction takes to finish.
import { madd } from "../device/wasm/madd";
import { constant, fewOfEight, loadFew, sumsOf } from "../device/wasm/simd";
import { Copies, itemOf, put, SUMS, widenedBytes } from "./floats";
import { Batch, Linear } from "./linear";

// Items from which on it is worth it.
// @ts-ignore: decorator
@inline
export const SOME: u32 = 3;

// Copies the inputs of a batch by scales, if there are any, and by another factor: four columns of four items beside each other. The last items may be missing.
export function copyBeside(all: Linear, batch: Batch, scales: usize, factor: f32, inputs: usize): void {
  const last = batch.count - 1, bytes = widenedBytes(all);
  for (let i: u32 = 0; i < (batch.count + 3 & ~3); i++) {
    const x = all.x + itemOf(batch, min(i, last)) / all.itemsPerInput * all.inputBytes;
    copyInput(all, x, scales, factor, inputs + (i >> 2) * (bytes << 2) + ((i & 3) << 4), 64);
  }
}

// One, four columns every so many bytes, and zeros behind the last.
export function copyInput(all: Linear, x: usize, scales: usize, factor: f32, to: usize, apart: u32): void {
  const columns = all.columns, group = scales ? all.group : columns;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const by = f32x4.splat(scales ? load<f32>(scales + (g << 2)) * factor : factor);
    const end = min(k + group, columns);
    for (; k + 4 <= end; k += 4, to += apart) v128.store(to, f32x4.mul(v128.load(x + (k << 2)), by));
    if (k < end) v128.store(to, f32x4.mul(loadFew(x + (k << 2), end - k), by));
    k = end;
  }
}

// Rows as f32, one after the other, as widen (floats.as) makes them.
export function widenBeside<T>(all: Linear, rows: u32, weights: usize, bytes: u32, to: usize): void {
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2);
  for (let r: u32 = 0; r < rows; r++) {
    let row = weights + r * bytes, y = to, k: u32 = 0;
    for (; k + 16 <= all.columns; k += 16, y += 64) {
      const halves = eightOf<T>(row), others = eightOf<T>(row + (sizeof<T>() << 3));
      v128.store(y, bits<T>(i32x4.extend_low_i16x8_s(halves), c0, c1));
      v128.store(y, bits<T>(i32x4.extend_high_i16x8_s(halves), c0, c1), 16);
      v128.store(y, bits<T>(i32x4.extend_low_i16x8_s(others), c0, c1), 32);
      v128.store(y, bits<T>(i32x4.extend_high_i16x8_s(others), c0, c1), 48);
      row += sizeof<T>() << 4;
    }
    for (; k < all.columns; k += 4, y += 16) {
      v128.store(y, fewOfEight<T>(row, 0, c0, c1, c2));
      row += sizeof<T>() << 2;
    }
    to += widenedBytes(all);
  }
}

// Eight weights as sixteen bits each.
// @ts-ignore: decorator
@inline
function eightOf<T>(row: usize): v128 {
  return sizeof<T>() == 2 ? v128.load(row) : v128.load8x8_s(row);
}

// What four weights are as f32, of bf16, f16 or fp8 with their sign in every bit above; of fp8 without what makes up for the exponent.
// @ts-ignore: decorator
@inline
function bits<T>(weights: v128, c0: v128, c1: v128): v128 {
  if (sizeof<T>() == 1) return v128.and(i32x4.shl(weights, 20), c0);
  const upper = i32x4.shl(weights, 16);
  return isSigned<T>() ? f32x4.mul(v128.and(i32x4.shr_s(upper, 3), c0), c1) : upper;
}

// All items and 1 to 4 rows, which are f32. @param bytes from row to row
export function multiplyBeside(all: Linear, batch: Batch, row: u32, apart: u32, rows: u32, weights: usize, bytes: u32, multiplies: bool, scratch: usize): void {
  const last = rows - 1;
  const w0 = weights, w1 = weights + min<u32>(1, last) * bytes, w2 = weights + min<u32>(2, last) * bytes, w3 = weights + min<u32>(3, last) * bytes;
  let x = changetype<Copies>(scratch).inputs;
  for (let i: u32 = 0; i < batch.count; i += 4, x += widenedBytes(all) << 2) {
    tile(all.columns, w0, w1, w2, w3, x, scratch);
    const end = min(i + 4, batch.count);
    for (let at = i, from = scratch + SUMS; at < end; at++, from += 16) {
      let sums = sumsOf(v128.load(from), v128.load(from, 64), v128.load(from, 128), v128.load(from, 192));
      if (multiplies) sums = f32x4.mul(sums, v128.load(scratch + offsetof<Copies>("factor0")));
      put(all, itemOf(batch, at), row, apart, rows, sums);
    }
  }
}

// Sums of four rows and four items, four lanes each, row by row.
function tile(columns: u32, w0: usize, w1: usize, w2: usize, w3: usize, x: usize, scratch: usize): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
  for (let k: u32 = 0; k < columns; k += 4) {
    const p0 = v128.load(x), p1 = v128.load(x, 16), p2 = v128.load(x, 32), p3 = v128.load(x, 48);
    const a = v128.load(w0);
    a0 = madd(a, p0, a0);
    a1 = madd(a, p1, a1);
    a2 = madd(a, p2, a2);
    a3 = madd(a, p3, a3);
    const b = v128.load(w1);
    b0 = madd(b, p0, b0);
    b1 = madd(b, p1, b1);
    b2 = madd(b, p2, b2);
    b3 = madd(b, p3, b3);
    const c = v128.load(w2);
    c0 = madd(c, p0, c0);
    c1 = madd(c, p1, c1);
    c2 = madd(c, p2, c2);
    c3 = madd(c, p3, c3);
    const d = v128.load(w3);
    d0 = madd(d, p0, d0);
    d1 = madd(d, p1, d1);
    d2 = madd(d, p2, d2);
    d3 = madd(d, p3, d3);
    x += 64;
    w0 += 16;
    w1 += 16;
    w2 += 16;
    w3 += 16;
  }
  v128.store(scratch, a0, SUMS);
  v128.store(scratch, a1, SUMS + 16);
  v128.store(scratch, a2, SUMS + 32);
  v128.store(scratch, a3, SUMS + 48);
  v128.store(scratch, b0, SUMS + 64);
  v128.store(scratch, b1, SUMS + 80);
  v128.store(scratch, b2, SUMS + 96);
  v128.store(scratch, b3, SUMS + 112);
  v128.store(scratch, c0, SUMS + 128);
  v128.store(scratch, c1, SUMS + 144);
  v128.store(scratch, c2, SUMS + 160);
  v128.store(scratch, c3, SUMS + 176);
  v128.store(scratch, d0, SUMS + 192);
  v128.store(scratch, d1, SUMS + 208);
  v128.store(scratch, d2, SUMS + 224);
  v128.store(scratch, d3, SUMS + 240);
}
