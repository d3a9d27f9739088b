// Linear layers with weights in q8 and q4, whose inputs are rounded to eight bits. Sums of a group are sums of integers, which are exact in whatever order and by
// whichever instruction; groups are added in order, one sum of f32 for each output. So nothing else that is computed, and no processor, changes a bit but by `madd`.
import { constant, highQuad, lowQuad } from "../device/wasm/simd";
import { itemOf, put } from "./floats";
import { Batch, Linear } from "./linear";
import { apartOf, firstOf, rowsOf } from "./row_order";
import { layOut, tile } from "./rounded_tile";
import { added, changing, endOfGroup, GROUP, isQ4, pairs, products, scalesOf, step, stored } from "./rounded_weights";

// all.format says how weights are multiplied, in the order of ROUNDED_WAYS (wasm.ts).
export function linearRounded(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Linear>(args);
  switch (all.format) {
    case 0: return pieces<bool>(all, first, end, scratch);
    case 1: return pieces<u8>(all, first, end, scratch);
    case 2: return pieces<i8>(all, first, end, scratch);
    case 3: return pieces<i16>(all, first, end, scratch);
    case 4: return pieces<u16>(all, first, end, scratch);
  }
}

// Items of a batch from which on it is worth laying weights out anew for them, as wasm.ts has it.
const MANY: u32 = 8;

// A piece is four rows of one batch, which are as many streams, or eight where some batch has many items, for which tiles are made.
function pieces<T>(all: Linear, first: u32, end: u32, scratch: usize): void {
  const size = all.pieceShift;
  const pieces = all.rows + (1 << size) - 1 >> size;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / pieces * offsetof<Batch>());
    const row = firstOf(all, piece % pieces, size), apart = apartOf(all, row, size), rows = rowsOf(all, row, apart, size);
    const at = batch.firstRow + row;
    const count = batch.count;
    let done: u32 = 0;
    if (size == 3 && count >= MANY) {
      layOut<T>(all, at, apart, rows, scratch);
      for (; done + 4 <= count; done += 4) tile<T>(all, batch, done, row, apart, rows, scratch);
    }
    if (done == count) continue;
    for (let four: u32 = 0; four < rows; four += 4) {
      const some = min<u32>(4, rows - four), from = row + four * apart, weights = batch.firstRow + from;
      let i = done;
      for (; i + 1 < count; i += 2) pair<T>(all, itemOf(batch, i), itemOf(batch, i + 1), from, apart, some, weights);
      if (i < count) single<T>(all, itemOf(batch, i), from, apart, some, weights);
    }
  }
}

// sum + weights · inputs, four products to a lane, or two of q4 in 16 bits. p and q are the inputs of one step.
// @ts-ignore: decorator
@inline
function dots<T>(sum: v128, weights: v128, p: v128, q: v128, by: v128, ones: v128): v128 {
  if (sizeof<T>() == 2) {
    if (isSigned<T>()) return i32x4.add(sum, i32x4.dot_i16x8_s(products(weights, p, q), ones));
    const low = i16x8.relaxed_dot_i8x16_i7x16_s(p, v128.and(weights, by));
    return i16x8.add(sum, i16x8.add(low, i16x8.relaxed_dot_i8x16_i7x16_s(q, v128.and(i16x8.shr_u(weights, 4), by))));
  }
  if (isBoolean<T>()) {
    const low = i32x4.relaxed_dot_i8x16_i7x16_add_s(p, v128.and(weights, by), sum);
    return i32x4.relaxed_dot_i8x16_i7x16_add_s(q, v128.and(i16x8.shr_u(weights, 4), by), low);
  }
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(p, weights, sum);
}

// A group's sums as integers of 32 bits: of q4, two times four products of 15 · 127 at most fit 16 bits.
// @ts-ignore: decorator
@inline
function whole<T>(sum: v128, ones: v128): v128 {
  return sizeof<T>() == 2 && !isSigned<T>() ? i32x4.dot_i16x8_s(sum, ones) : sum;
}

// Inputs of one step.
// @ts-ignore: decorator
@inline
function firstInputs<T>(x: usize, k: u32): v128 {
  const inputs = v128.load(x + k);
  return sizeof<T>() == 2 && isSigned<T>() ? i8x16.abs(inputs) : inputs;
}

// @ts-ignore: decorator
@inline
function lastInputs<T>(x: usize, k: u32, first: v128): v128 {
  if (isQ4<T>()) return v128.load(x + k, 16);
  return sizeof<T>() == 2 ? i8x16.lt_s(v128.load(x + k), i32x4.splat(0)) : first;
}

// Sums of the lanes of four vectors of integers, as one vector.
// @ts-ignore: decorator
@inline
function totals(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

// Scales of four groups of two rows.
// @ts-ignore: decorator
@inline
function scalesOfTwo(s: usize, t: usize, g: u32): v128 {
  return v128.shuffle<i16>(v128.load64_zero(s + (g << 1)), v128.load64_zero(t + (g << 1)), 0, 8, 1, 9, 2, 10, 3, 11);
}

// Sums of a whole group of q4, of four rows.
// @ts-ignore: decorator
@inline
function group<T>(w0: usize, w1: usize, w2: usize, w3: usize, x: usize, by: v128, ones: v128): v128 {
  const p = v128.load(x), q = v128.load(x, 16), r = v128.load(x, 32), s = v128.load(x, 48);
  return totals(row<T>(w0, p, q, r, s, by, ones), row<T>(w1, p, q, r, s, by, ones), row<T>(w2, p, q, r, s, by, ones), row<T>(w3, p, q, r, s, by, ones));
}

// @ts-ignore: decorator
@inline
function row<T>(w: usize, p: v128, q: v128, r: v128, s: v128, by: v128, ones: v128): v128 {
  const zero = i32x4.splat(0);
  return whole<T>(dots<T>(dots<T>(zero, v128.load(w), p, q, by, ones), v128.load(w, 16), r, s, by, ones), ones);
}

function single<T>(all: Linear, item: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const xScales = x + (all.columns + 63 & ~63);
  const rowBytes = apart * all.rowBytes, scaleBytes = apart * all.scaleRowBytes;
  const r1 = min<u32>(1, rows - 1), r2 = min<u32>(2, rows - 1), r3 = rows - 1;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + r1 * rowBytes, w2 = w0 + r2 * rowBytes, w3 = w0 + r3 * rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + r1 * scaleBytes, s2 = s0 + r2 * scaleBytes, s3 = s0 + r3 * scaleBytes;
  const by = changing<T>(), ones = pairs(), mask = constant<i16>(0), power = constant<i16>(1), zero = i32x4.splat(0);
  let sum = f32x4.splat(0);
  let k: u32 = 0, g: u32 = 0;
  if (isQ4<T>()) {
    for (; k + 4 * GROUP <= all.columns; k += 4 * GROUP, g += 4) {
      const o = k >> 1, at = x + k, beside = xScales + (g << 3);
      const ab = scalesOfTwo(s0, s1, g), cd = scalesOfTwo(s2, s3, g);
      const two = v128.shuffle<i32>(ab, cd, 0, 4, 1, 5), more = v128.shuffle<i32>(ab, cd, 2, 6, 3, 7);
      sum = added(sum, group<T>(w0 + o, w1 + o, w2 + o, w3 + o, at, by, ones), lowQuad<i16>(two, mask, power), beside, 0);
      sum = added(sum, group<T>(w0 + o + 32, w1 + o + 32, w2 + o + 32, w3 + o + 32, at + 64, by, ones), highQuad<i16>(two, mask, power), beside, 1);
      sum = added(sum, group<T>(w0 + o + 64, w1 + o + 64, w2 + o + 64, w3 + o + 64, at + 128, by, ones), lowQuad<i16>(more, mask, power), beside, 2);
      sum = added(sum, group<T>(w0 + o + 96, w1 + o + 96, w2 + o + 96, w3 + o + 96, at + 192, by, ones), highQuad<i16>(more, mask, power), beside, 3);
    }
  }
  while (k < all.columns) {
    const scales = scalesOf(s0, s1, s2, s3, k / GROUP, mask, power);
    const last = min(k + GROUP, all.columns);
    for (; k < last; g++) {
      let i0 = zero, i1 = zero, i2 = zero, i3 = zero;
      const end = endOfGroup<T>(all, k);
      for (; k < end; k += step<T>()) {
        const p = firstInputs<T>(x, k), q = lastInputs<T>(x, k, p);
        i0 = dots<T>(i0, stored<T>(w0, k, by), p, q, by, ones);
        i1 = dots<T>(i1, stored<T>(w1, k, by), p, q, by, ones);
        i2 = dots<T>(i2, stored<T>(w2, k, by), p, q, by, ones);
        i3 = dots<T>(i3, stored<T>(w3, k, by), p, q, by, ones);
      }
      sum = added(sum, totals(whole<T>(i0, ones), whole<T>(i1, ones), whole<T>(i2, ones), whole<T>(i3, ones)), scales, xScales, g);
    }
  }
  put(all, item, row, apart, rows, sum);
}

function pair<T>(all: Linear, item: u32, other: u32, row: u32, apart: u32, rows: u32, at: u32): void {
  const x = all.x + item / all.itemsPerInput * all.inputBytes, z = all.x + other / all.itemsPerInput * all.inputBytes;
  const toScales: usize = all.columns + 63 & ~63;
  const rowBytes = apart * all.rowBytes, scaleBytes = apart * all.scaleRowBytes;
  const r1 = min<u32>(1, rows - 1), r2 = min<u32>(2, rows - 1), r3 = rows - 1;
  const w0 = all.weights + at * all.rowBytes, w1 = w0 + r1 * rowBytes, w2 = w0 + r2 * rowBytes, w3 = w0 + r3 * rowBytes;
  const s0 = all.scales + at * all.scaleRowBytes, s1 = s0 + r1 * scaleBytes, s2 = s0 + r2 * scaleBytes, s3 = s0 + r3 * scaleBytes;
  const by = changing<T>(), ones = pairs(), mask = constant<i16>(0), power = constant<i16>(1), zero = i32x4.splat(0);
  let sum = f32x4.splat(0), sumOfOther = sum;
  for (let k: u32 = 0, g: u32 = 0; k < all.columns;) {
    const scales = scalesOf(s0, s1, s2, s3, k / GROUP, mask, power);
    const last = min(k + GROUP, all.columns);
    for (; k < last; g++) {
      let i0 = zero, i1 = zero, i2 = zero, i3 = zero, j0 = zero, j1 = zero, j2 = zero, j3 = zero;
      const end = endOfGroup<T>(all, k);
      for (; k < end; k += step<T>()) {
        const p = firstInputs<T>(x, k), q = lastInputs<T>(x, k, p), u = firstInputs<T>(z, k), v = lastInputs<T>(z, k, u);
        const a = stored<T>(w0, k, by);
        i0 = dots<T>(i0, a, p, q, by, ones);
        j0 = dots<T>(j0, a, u, v, by, ones);
        const b = stored<T>(w1, k, by);
        i1 = dots<T>(i1, b, p, q, by, ones);
        j1 = dots<T>(j1, b, u, v, by, ones);
        const c = stored<T>(w2, k, by);
        i2 = dots<T>(i2, c, p, q, by, ones);
        j2 = dots<T>(j2, c, u, v, by, ones);
        const d = stored<T>(w3, k, by);
        i3 = dots<T>(i3, d, p, q, by, ones);
        j3 = dots<T>(j3, d, u, v, by, ones);
      }
      sum = added(sum, totals(whole<T>(i0, ones), whole<T>(i1, ones), whole<T>(i2, ones), whole<T>(i3, ones)), scales, x + toScales, g);
      sumOfOther = added(sumOfOther, totals(whole<T>(j0, ones), whole<T>(j1, ones), whole<T>(j2, ones), whole<T>(j3, ones)), scales, z + toScales, g);
    }
  }
  put(all, item, row, apart, rows, sum);
  put(all, other, row, apart, rows, sumOfOther);
}

