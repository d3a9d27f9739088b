// q̃ = Wᵀ q of every head: rows of the matrix are added, each times one value of the query.
import { madd } from "../device/wasm/madd";
import { int4Scale, int4Zero } from "../device/wasm/int4";
import { constant, quad, scale, scaled } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Absorb {
  weights: usize;
  scales: usize;
  x: usize;
  queries: usize;
  format: u32;
  columns: u32;
  rowBytes: u32;
  scaleRowBytes: u32;
  group: u32;
  inputBytes: u32;
  heads: u32;
  rows: u32;
  queryBytes: u32;
  scaling: u32;
  span: u32;
  // Of this run: one for each head of each token.
  items: u32;
}

// Tokens from which on rows are widened into memory first.
const WORTH_WIDENING: u32 = 3;

// A piece is a head, and columns that share a scale. Columns are a multiple of 4. Scratch: queries by their scales, of two tokens, then rows as f32.
export function absorb(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Absorb>(args);
  switch (all.format) {
    case 0: return pieces<f32>(all, first, end, scratch);
    case 1: return pieces<i16>(all, first, end, scratch);
    case 2: return pieces<u16>(all, first, end, scratch);
    case 3: return pieces<u8>(all, first, end, scratch);
    case 4: return pieces<i8>(all, first, end, scratch);
    case 5: return pieces<bool>(all, first, end, scratch);
    case 6: return pieces<u32>(all, first, end, scratch);
  }
}

function pieces<T>(all: Absorb, first: u32, end: u32, scratch: usize): void {
  const columns = all.columns, rows = all.rows, heads = all.heads, items = all.items;
  const spans = (columns + all.span - 1) / all.span;
  const other = scratch + (rows << 2), widened = other + (rows << 2);
  for (let piece = first; piece < end; piece++) {
    const head = piece / spans, from = piece % spans * all.span;
    const count = min(all.span, columns - from);
    const weights = all.weights + head * rows * all.rowBytes;
    const scales = all.scales + head * rows * all.scaleRowBytes;
    const group = scaled<T>() || isLevels<T>() ? from / all.group : 0;
    const to = all.queries + (from << 2);
    if (items < heads * WORTH_WIDENING) {
      for (let item = head; item < items; item += heads) {
        one<T>(all, weights, all.rowBytes, from, count, scales, group, factors<T>(all, item, scales, group, scratch), to + item * all.queryBytes);
      }
      continue;
    }
    const bytes = count << 2;
    widen<T>(all, weights, from, count, scales, group, widened);
    let item = head;
    for (; item + heads < items; item += heads << 1) {
      const p = factors<T>(all, item, scales, group, scratch), q = factors<T>(all, item + heads, scales, group, other);
      two(rows, widened, bytes, count, p, q, to + item * all.queryBytes, to + (item + heads) * all.queryBytes);
    }
    if (item < items) {
      one<f32>(all, widened, bytes, 0, count, scales, group, factors<T>(all, item, scales, group, scratch), to + item * all.queryBytes);
    }
  }
}

// Whether weights are levels as checkpoints have them.
// @ts-ignore: decorator
@inline
function isLevels<T>(): bool {
  return isInteger<T>() && sizeof<T>() == 4;
}

// What subtracts from levels of a row.
// @ts-ignore: decorator
@inline
function zeroOf<T>(all: Absorb, scales: usize, r: u32, group: u32, c2: v128): v128 {
  return isLevels<T>() ? f32x4.splat(<f32>int4Zero(all.scaling, scales + r * all.scaleRowBytes, group)) : c2;
}

// Where a query lies by the scales of the rows.
// @ts-ignore: decorator
@inline
function factors<T>(all: Absorb, item: u32, scales: usize, group: u32, to: usize): usize {
  const x = all.x + item * all.inputBytes;
  if (!scaled<T>() && !isLevels<T>()) return x;
  for (let r: u32 = 0; r < all.rows; r++) {
    const at = scales + r * all.scaleRowBytes;
    const by: f32 = isLevels<T>() ? int4Scale(all.scaling, at, group) : f32x4.extract_lane(scale<T>(at, group), 0);
    store<f32>(to + (r << 2), load<f32>(x + (r << 2)) * by);
  }
  return to;
}

// Columns of all rows as f32, without their scales.
function widen<T>(all: Absorb, weights: usize, from: u32, count: u32, scales: usize, group: u32, to: usize): void {
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2);
  for (let r: u32 = 0; r < all.rows; r++) {
    const row = weights + r * all.rowBytes, zero = zeroOf<T>(all, scales, r, group, c2);
    for (let k: u32 = 0; k < count; k += 4, to += 16) v128.store(to, quad<T>(row, from + k, c0, c1, zero));
  }
}

function one<T>(
  all: Absorb, weights: usize, rowBytes: u32, from: u32, count: u32, scales: usize, group: u32, x: usize, to: usize,
): void {
  const rows = all.rows;
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2);
  let k: u32 = 0;
  for (; k + 16 <= count; k += 16) {
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let r: u32 = 0, row = weights; r < rows; r++, row += rowBytes) {
      const by = v128.load32_splat(x + (r << 2)), zero = zeroOf<T>(all, scales, r, group, c2);
      a = madd(quad<T>(row, from + k, c0, c1, zero), by, a);
      b = madd(quad<T>(row, from + k + 4, c0, c1, zero), by, b);
      c = madd(quad<T>(row, from + k + 8, c0, c1, zero), by, c);
      d = madd(quad<T>(row, from + k + 12, c0, c1, zero), by, d);
    }
    const at = to + (k << 2);
    v128.store(at, a);
    v128.store(at, b, 16);
    v128.store(at, c, 32);
    v128.store(at, d, 48);
  }
  for (; k < count; k += 4) {
    let a = f32x4.splat(0);
    for (let r: u32 = 0, row = weights; r < rows; r++, row += rowBytes) {
      a = madd(quad<T>(row, from + k, c0, c1, zeroOf<T>(all, scales, r, group, c2)), v128.load32_splat(x + (r << 2)), a);
    }
    v128.store(to + (k << 2), a);
  }
}

// Two tokens of one head, to the same bits.
function two(rows: u32, weights: usize, bytes: u32, count: u32, x: usize, z: usize, to: usize, toOther: usize): void {
  let k: u32 = 0;
  for (; k + 16 <= count; k += 16) {
    let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (let r: u32 = 0, row = weights + (k << 2); r < rows; r++, row += bytes) {
      const p = v128.load32_splat(x + (r << 2)), q = v128.load32_splat(z + (r << 2));
      const w0 = v128.load(row);
      a = madd(w0, p, a);
      e = madd(w0, q, e);
      const w1 = v128.load(row, 16);
      b = madd(w1, p, b);
      f = madd(w1, q, f);
      const w2 = v128.load(row, 32);
      c = madd(w2, p, c);
      g = madd(w2, q, g);
      const w3 = v128.load(row, 48);
      d = madd(w3, p, d);
      h = madd(w3, q, h);
    }
    const y = to + (k << 2), other = toOther + (k << 2);
    v128.store(y, a);
    v128.store(y, b, 16);
    v128.store(y, c, 32);
    v128.store(y, d, 48);
    v128.store(other, e);
    v128.store(other, f, 16);
    v128.store(other, g, 32);
    v128.store(other, h, 48);
  }
  for (; k < count; k += 4) {
    let a = f32x4.splat(0), e = a;
    for (let r: u32 = 0, row = weights + (k << 2); r < rows; r++, row += bytes) {
      const w = v128.load(row);
      a = madd(w, v128.load32_splat(x + (r << 2)), a);
      e = madd(w, v128.load32_splat(z + (r << 2)), e);
    }
    v128.store(to + (k << 2), a);
    v128.store(toOther + (k << 2), e);
  }
}
