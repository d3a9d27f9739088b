// Products of four rows of floats, as they are stored, and some items.
import { madd } from "../device/wasm/madd";
import { constant, eight, fewOfEight, highQuad, loadFew, lowQuad, sumsOf } from "../device/wasm/simd";
import { Batch, Linear } from "./linear";

// At the beginning of scratch: inputs that were copied, and what sums of each row are multiplied by.
// @ts-ignore: decorator
@unmanaged
export class Copies {
  // Of which batch they are, 0 at the beginning of a job (pool.as), and by which scales, 0: by none.
  batch: usize;
  scales: usize;
  inputs: usize;
  bytes: u32;
  factor0: f32;
  factor1: f32;
  factor2: f32;
  factor3: f32;
}

// Where sums are laid aside, and where rows as f32 lie in scratch; copies of inputs come behind those.
// @ts-ignore: decorator
@inline
export const SUMS: usize = 64, ROWS: usize = 320;

// Where inputs are copied to.
// @ts-ignore: decorator
@inline
export function inputsIn(all: Linear, scratch: usize): usize {
  return scratch + ROWS + (widenedBytes(all) << 2) + 48;
}

// Rows as f32, one after the other.
export function widen<T>(all: Linear, rows: u32, weights: usize, bytes: u32, to: usize): void {
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), mask = constant<u8>(3);
  const columns = all.columns;
  for (let r: u32 = 0; r < rows; r++) {
    const row = weights + r * bytes;
    let k: u32 = 0;
    for (; k + 8 <= columns; k += 8) {
      const halves = eight<T>(row, k, mask);
      v128.store(to + (k << 2), lowQuad<T>(halves, c0, c1));
      v128.store(to + (k << 2), highQuad<T>(halves, c0, c1), 16);
    }
    for (; k < columns; k += 4) v128.store(to + (k << 2), fewOfEight<T>(row, k, c0, c1, c2));
    to += widenedBytes(all);
  }
}

// Of a row as f32.
// @ts-ignore: decorator
@inline
export function widenedBytes(all: Linear): u32 {
  return (all.columns + 3 & ~3) << 2;
}

// Items with rows that were widened.
export function multiplyWidened(all: Linear, batch: Batch, row: u32, apart: u32, rows: u32, weights: usize, copies: usize): void {
  const bytes = widenedBytes(all), count = batch.count;
  let i: u32 = 0;
  for (; i + 1 < count; i += 2) pair<f32>(all, batch, i, row, apart, rows, weights, bytes, copies);
  if (i < count) single<f32>(all, batch, i, row, apart, rows, weights, bytes, copies);
}

// Items with rows as they are stored, which are widened in registers.
export function multiplyFew<T>(all: Linear, batch: Batch, row: u32, apart: u32, rows: u32, weights: usize, copies: usize): void {
  const bytes = apart * all.rowBytes, count = batch.count;
  for (let i: u32 = 0; i < count;) {
    const left = count - i;
    if (left == 1) single<T>(all, batch, i++, row, apart, rows, weights, bytes, copies);
    else if (left == 2 || isFloat<T>()) {
      pair<T>(all, batch, i, row, apart, rows, weights, bytes, copies);
      i += 2;
    } else {
      // Two rows at a time, since each item has sums of its own.
      for (let r: u32 = 0; r < rows; r += 2) fourItems<T>(all, batch, i, row, apart, r, min<u32>(2, rows - r), weights + r * bytes, bytes, copies);
      i += 4;
    }
  }
}

// @ts-ignore: decorator
@inline
export function itemOf(batch: Batch, i: u32): u32 {
  return batch.list ? load<u32>(batch.list + (batch.first + i << 2)) : batch.first + i * batch.step;
}

// @ts-ignore: decorator
@inline
function inputOf(all: Linear, batch: Batch, i: u32, copies: usize): usize {
  if (copies) return changetype<Copies>(copies).inputs + i * changetype<Copies>(copies).bytes;
  return all.x + itemOf(batch, i) / all.itemsPerInput * all.inputBytes;
}

// Sums of an item, of 1 to 4 rows that are some apart.
// @ts-ignore: decorator
@inline
export function put(all: Linear, item: u32, row: u32, apart: u32, rows: u32, sums: v128): void {
  const to = all.y + (item * all.outputs + all.firstOutput + row << 2), by = apart << 2;
  let whole = sums;
  if (all.adds) {
    let before = v128.load32_zero(to);
    if (rows > 1) before = v128.load32_lane(to + by, before, 1);
    if (rows > 2) before = v128.load32_lane(to + 2 * by, before, 2);
    if (rows > 3) before = v128.load32_lane(to + 3 * by, before, 3);
    whole = f32x4.add(before, sums);
  }
  v128.store32_lane(to, whole, 0);
  if (rows > 1) v128.store32_lane(to + by, whole, 1);
  if (rows > 2) v128.store32_lane(to + 2 * by, whole, 2);
  if (rows > 3) v128.store32_lane(to + 3 * by, whole, 3);
}

// The last row again beyond the last, which is not written.
// @ts-ignore: decorator
@inline
function rowAt(weights: usize, bytes: u32, r: u32, rows: u32): usize {
  return weights + min<u32>(r, rows - 1) * bytes;
}

// Four floats, or as many as there are and zeros.
// @ts-ignore: decorator
@inline
function loadQuad(p: usize, count: u32): v128 {
  return count < 4 ? loadFew(p, count) : v128.load(p);
}

// @ts-ignore: decorator
@inline
function low<T>(row: usize, k: u32, c0: v128, c1: v128, mask: v128): v128 {
  return isFloat<T>() ? v128.load(row + (k << 2)) : lowQuad<T>(eight<T>(row, k, mask), c0, c1);
}

// @ts-ignore: decorator
@inline
function high<T>(row: usize, k: u32, c0: v128, c1: v128, mask: v128): v128 {
  return isFloat<T>() ? v128.load(row + (k << 2), 16) : highQuad<T>(eight<T>(row, k, mask), c0, c1);
}

// One item and four rows.
function single<T>(all: Linear, batch: Batch, i: u32, row: u32, apart: u32, rows: u32, weights: usize, bytes: u32, copies: usize): void {
  const columns = all.columns;
  const x = inputOf(all, batch, i, copies);
  const w0 = weights, w1 = rowAt(weights, bytes, 1, rows), w2 = rowAt(weights, bytes, 2, rows), w3 = rowAt(weights, bytes, 3, rows);
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), mask = constant<u8>(3);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  let k: u32 = 0;
  for (; k + 8 <= columns; k += 8) {
    const p = v128.load(x + (k << 2)), q = v128.load(x + (k << 2), 16);
    a0 = madd(high<T>(w0, k, c0, c1, mask), q, madd(low<T>(w0, k, c0, c1, mask), p, a0));
    a1 = madd(high<T>(w1, k, c0, c1, mask), q, madd(low<T>(w1, k, c0, c1, mask), p, a1));
    a2 = madd(high<T>(w2, k, c0, c1, mask), q, madd(low<T>(w2, k, c0, c1, mask), p, a2));
    a3 = madd(high<T>(w3, k, c0, c1, mask), q, madd(low<T>(w3, k, c0, c1, mask), p, a3));
  }
  for (; k < columns; k += 4) {
    const p = loadQuad(x + (k << 2), columns - k);
    a0 = madd(fewOfEight<T>(w0, k, c0, c1, c2), p, a0);
    a1 = madd(fewOfEight<T>(w1, k, c0, c1, c2), p, a1);
    a2 = madd(fewOfEight<T>(w2, k, c0, c1, c2), p, a2);
    a3 = madd(fewOfEight<T>(w3, k, c0, c1, c2), p, a3);
  }
  let sums = sumsOf(a0, a1, a2, a3);
  if (copies) sums = f32x4.mul(sums, v128.load(copies + offsetof<Copies>("factor0")));
  put(all, itemOf(batch, i), row, apart, rows, sums);
}

// Two items and four rows. Twice four columns at a time, so that addresses are computed half as often.
function pair<T>(all: Linear, batch: Batch, i: u32, row: u32, apart: u32, rows: u32, weights: usize, bytes: u32, copies: usize): void {
  const columns = all.columns;
  const x = inputOf(all, batch, i, copies), z = inputOf(all, batch, i + 1, copies);
  const w0 = weights, w1 = rowAt(weights, bytes, 1, rows), w2 = rowAt(weights, bytes, 2, rows), w3 = rowAt(weights, bytes, 3, rows);
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), mask = constant<u8>(3);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let k: u32 = 0;
  for (; k + 8 <= columns; k += 8) {
    const p0 = v128.load(x + (k << 2)), q0 = v128.load(z + (k << 2));
    const u0 = low<T>(w0, k, c0, c1, mask);
    a0 = madd(u0, p0, a0);
    b0 = madd(u0, q0, b0);
    const u1 = low<T>(w1, k, c0, c1, mask);
    a1 = madd(u1, p0, a1);
    b1 = madd(u1, q0, b1);
    const u2 = low<T>(w2, k, c0, c1, mask);
    a2 = madd(u2, p0, a2);
    b2 = madd(u2, q0, b2);
    const u3 = low<T>(w3, k, c0, c1, mask);
    a3 = madd(u3, p0, a3);
    b3 = madd(u3, q0, b3);
    const p1 = v128.load(x + (k << 2), 16), q1 = v128.load(z + (k << 2), 16);
    const v0 = high<T>(w0, k, c0, c1, mask);
    a0 = madd(v0, p1, a0);
    b0 = madd(v0, q1, b0);
    const v1 = high<T>(w1, k, c0, c1, mask);
    a1 = madd(v1, p1, a1);
    b1 = madd(v1, q1, b1);
    const v2 = high<T>(w2, k, c0, c1, mask);
    a2 = madd(v2, p1, a2);
    b2 = madd(v2, q1, b2);
    const v3 = high<T>(w3, k, c0, c1, mask);
    a3 = madd(v3, p1, a3);
    b3 = madd(v3, q1, b3);
  }
  for (; k < columns; k += 4) {
    const p = loadQuad(x + (k << 2), columns - k), q = loadQuad(z + (k << 2), columns - k);
    const t0 = fewOfEight<T>(w0, k, c0, c1, c2);
    a0 = madd(t0, p, a0);
    b0 = madd(t0, q, b0);
    const t1 = fewOfEight<T>(w1, k, c0, c1, c2);
    a1 = madd(t1, p, a1);
    b1 = madd(t1, q, b1);
    const t2 = fewOfEight<T>(w2, k, c0, c1, c2);
    a2 = madd(t2, p, a2);
    b2 = madd(t2, q, b2);
    const t3 = fewOfEight<T>(w3, k, c0, c1, c2);
    a3 = madd(t3, p, a3);
    b3 = madd(t3, q, b3);
  }
  let sums = sumsOf(a0, a1, a2, a3), others = sumsOf(b0, b1, b2, b3);
  if (copies) {
    const factors = v128.load(copies + offsetof<Copies>("factor0"));
    sums = f32x4.mul(sums, factors);
    others = f32x4.mul(others, factors);
  }
  put(all, itemOf(batch, i), row, apart, rows, sums);
  put(all, itemOf(batch, i + 1), row, apart, rows, others);
}

// Four items, of which the last may be missing, and the r-th row and the next, if there are two.
function fourItems<T>(
  all: Linear, batch: Batch, i: u32, row: u32, apart: u32, r: u32, rows: u32, weights: usize, bytes: u32, copies: usize,
): void {
  const columns = all.columns;
  const last = batch.count - 1;
  const x0 = inputOf(all, batch, i, copies), x1 = inputOf(all, batch, i + 1, copies);
  const x2 = inputOf(all, batch, i + 2, copies), x3 = inputOf(all, batch, min(i + 3, last), copies);
  const w0 = weights, w1 = rowAt(weights, bytes, 1, rows);
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), mask = constant<u8>(3);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let k: u32 = 0;
  for (; k + 8 <= columns; k += 8) {
    const at = k << 2;
    const g = eight<T>(w0, k, mask), h = eight<T>(w1, k, mask);
    const u = lowQuad<T>(g, c0, c1), v = lowQuad<T>(h, c0, c1);
    const p0 = v128.load(x0 + at);
    a0 = madd(u, p0, a0);
    b0 = madd(v, p0, b0);
    const p1 = v128.load(x1 + at);
    a1 = madd(u, p1, a1);
    b1 = madd(v, p1, b1);
    const p2 = v128.load(x2 + at);
    a2 = madd(u, p2, a2);
    b2 = madd(v, p2, b2);
    const p3 = v128.load(x3 + at);
    a3 = madd(u, p3, a3);
    b3 = madd(v, p3, b3);
    const y = highQuad<T>(g, c0, c1), z = highQuad<T>(h, c0, c1);
    const q0 = v128.load(x0 + at, 16);
    a0 = madd(y, q0, a0);
    b0 = madd(z, q0, b0);
    const q1 = v128.load(x1 + at, 16);
    a1 = madd(y, q1, a1);
    b1 = madd(z, q1, b1);
    const q2 = v128.load(x2 + at, 16);
    a2 = madd(y, q2, a2);
    b2 = madd(z, q2, b2);
    const q3 = v128.load(x3 + at, 16);
    a3 = madd(y, q3, a3);
    b3 = madd(z, q3, b3);
  }
  for (; k < columns; k += 4) {
    const few = columns - k, at = k << 2;
    const u = fewOfEight<T>(w0, k, c0, c1, c2), v = fewOfEight<T>(w1, k, c0, c1, c2);
    const t0 = loadQuad(x0 + at, few);
    a0 = madd(u, t0, a0);
    b0 = madd(v, t0, b0);
    const t1 = loadQuad(x1 + at, few);
    a1 = madd(u, t1, a1);
    b1 = madd(v, t1, b1);
    const t2 = loadQuad(x2 + at, few);
    a2 = madd(u, t2, a2);
    b2 = madd(v, t2, b2);
    const t3 = loadQuad(x3 + at, few);
    a3 = madd(u, t3, a3);
    b3 = madd(v, t3, b3);
  }
  // Two items in each: their two rows beside each other.
  let sums = sumsOf(a0, b0, a1, b1), others = sumsOf(a2, b2, a3, b3);
  if (copies) {
    const two = v128.load64_splat(copies + offsetof<Copies>("factor0") + (r << 2));
    sums = f32x4.mul(sums, two);
    others = f32x4.mul(others, two);
  }
  const from = row + r * apart;
  put(all, itemOf(batch, i), from, apart, rows, sums);
  put(all, itemOf(batch, i + 1), from, apart, rows, v128.shuffle<f64>(sums, sums, 1, 1));
  put(all, itemOf(batch, i + 2), from, apart, rows, others);
  if (i + 3 <= last) put(all, itemOf(batch, i + 3), from, apart, rows, v128.shuffle<f64>(others, others, 1, 1));
}
