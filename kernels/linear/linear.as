// Linear layers. Every output is one sum of four lanes over the columns in order, whatever else is computed beside it, so that it does not depend on how many items
// or threads there are.
import { madd } from "../device/wasm/madd";
import { constant, exp4, largestOf, loadFew, quad, scale, scaled, storeFew, sumsOf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
export class Linear {
  weights: usize;
  scales: usize;
  x: usize;
  y: usize;
  batches: usize;
  format: u32;
  columns: u32;
  rowBytes: u32;
  scaleRowBytes: u32;
  group: u32;
  inputBytes: u32;
  itemsPerInput: u32;
  outputs: u32;
  adds: u32;
  firstOutput: u32;
  rows: u32;
}

// Items that one matrix multiplies: of a list, or every step-th.
// @ts-ignore: decorator
@unmanaged
export class Batch {
  firstRow: u32;
  list: usize;
  first: u32;
  step: u32;
  count: u32;
}

// Inputs that share a scale, when they are rounded to eight bits: as many as weights do (core/model/packing.ts).
// @ts-ignore: decorator
@inline
const ROUNDED_GROUP: u32 = 64;

// A piece is four rows of one batch.
export function linear(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Linear>(args);
  switch (all.format) {
    case 0: return pieces<f32>(all, first, end, scratch);
    case 1: return pieces<i16>(all, first, end, scratch);
    case 2: return pieces<u16>(all, first, end, scratch);
    case 3: return pieces<u8>(all, first, end, scratch);
    case 4: return roundedPieces<i8>(all, first, end);
    case 5: return roundedPieces<bool>(all, first, end);
  }
}

function pieces<T>(all: Linear, first: u32, end: u32, scratch: usize): void {
  const fours = (all.rows + 3) >> 2;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = piece % fours << 2;
    const rows = min<u32>(4, all.rows - row);
    const at = batch.firstRow + row;
    if (isFloat<T>() ? batch.count < 4 : batch.count == 1) multiply<T>(all, batch, row, rows, at, all.weights, all.scales, all.rowBytes);
    else {
      const stride = (all.columns + 3 & ~3) << 2;
      for (let r: u32 = 0; r < rows; r++) {
        widen<T>(all, all.weights + (at + r) * all.rowBytes, all.scales + (at + r) * all.scaleRowBytes, scratch + r * stride);
      }
      multiply<f32>(all, batch, row, rows, 0, scratch, 0, stride);
    }
  }
}

// A row as f32.
function widen<T>(all: Linear, row: usize, scales: usize, to: usize): void {
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2);
  const columns = all.columns;
  const group = scaled<T>() ? all.group : columns;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + group, columns);
    if (scaled<T>()) {
      const by = scale<T>(scales, g);
      for (; k < end; k += 4) v128.store(to + (k << 2), f32x4.mul(quad<T>(row, k, c0, c1, c2), by));
    } else {
      for (; k < end; k += 4) v128.store(to + (k << 2), quad<T>(row, k, c0, c1, c2));
    }
  }
}

export function multiply<T>(all: Linear, batch: Batch, row: u32, rows: u32, at: u32, weights: usize, scales: usize, rowBytes: u32): void {
  // What lies beyond the last row is the last row again, and not written.
  const w0 = weights + at * rowBytes;
  const w1 = weights + (at + min<u32>(1, rows - 1)) * rowBytes;
  const w2 = weights + (at + min<u32>(2, rows - 1)) * rowBytes;
  const w3 = weights + (at + rows - 1) * rowBytes;
  const count = batch.count;
  let i: u32 = 0;
  if (isFloat<T>()) {
    for (; i + 1 < count; i += 2) pair(all, itemOf(batch, i), itemOf(batch, i + 1), row, rows, w0, w1, w2, w3);
  }
  if (i < count) {
    const step = all.scaleRowBytes;
    const s0 = scales + at * step;
    const s1 = scales + (at + min<u32>(1, rows - 1)) * step;
    const s2 = scales + (at + min<u32>(2, rows - 1)) * step;
    const s3 = scales + (at + rows - 1) * step;
    single<T>(all, itemOf(batch, i), row, rows, w0, w1, w2, w3, s0, s1, s2, s3);
  }
}

// @ts-ignore: decorator
@inline
export function itemOf(batch: Batch, i: u32): u32 {
  return batch.list ? load<u32>(batch.list + (batch.first + i << 2)) : batch.first + i * batch.step;
}

// @ts-ignore: decorator
@inline
export function put(all: Linear, item: u32, row: u32, rows: u32, sums: v128): void {
  const to = all.y + (item * all.outputs + all.firstOutput + row << 2);
  if (rows == 4) {
    v128.store(to, all.adds ? f32x4.add(v128.load(to), sums) : sums);
  } else {
    storeFew(to, all.adds ? f32x4.add(loadFew(to, rows), sums) : sums, rows);
  }
}

function pair(all: Linear, item: u32, other: u32, row: u32, rows: u32, w0: usize, w1: usize, w2: usize, w3: usize): void {
  const columns = all.columns;
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const z = all.x + other / all.itemsPerInput * all.inputBytes;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let k: u32 = 0;
  for (; k + 4 <= columns; k += 4) {
    const p = v128.load(x + (k << 2));
    const q = v128.load(z + (k << 2));
    const u0 = v128.load(w0 + (k << 2));
    a0 = madd(u0, p, a0);
    b0 = madd(u0, q, b0);
    const u1 = v128.load(w1 + (k << 2));
    a1 = madd(u1, p, a1);
    b1 = madd(u1, q, b1);
    const u2 = v128.load(w2 + (k << 2));
    a2 = madd(u2, p, a2);
    b2 = madd(u2, q, b2);
    const u3 = v128.load(w3 + (k << 2));
    a3 = madd(u3, p, a3);
    b3 = madd(u3, q, b3);
  }
  if (k < columns) {
    const p = loadFew(x + (k << 2), columns - k);
    const q = loadFew(z + (k << 2), columns - k);
    const u0 = v128.load(w0 + (k << 2)), u1 = v128.load(w1 + (k << 2)), u2 = v128.load(w2 + (k << 2)), u3 = v128.load(w3 + (k << 2));
    a0 = madd(u0, p, a0);
    a1 = madd(u1, p, a1);
    a2 = madd(u2, p, a2);
    a3 = madd(u3, p, a3);
    b0 = madd(u0, q, b0);
    b1 = madd(u1, q, b1);
    b2 = madd(u2, q, b2);
    b3 = madd(u3, q, b3);
  }
  put(all, item, row, rows, sumsOf(a0, a1, a2, a3));
  put(all, other, row, rows, sumsOf(b0, b1, b2, b3));
}

// Weights are widened where they are multiplied.
function single<T>(
  all: Linear, item: u32, row: u32, rows: u32, w0: usize, w1: usize, w2: usize, w3: usize, s0: usize, s1: usize, s2: usize, s3: usize,
): void {
  const columns = all.columns;
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const group = scaled<T>() ? all.group : columns;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + group, columns);
    const whole = end & ~3;
    if (scaled<T>()) {
      const g0 = scale<T>(s0, g), g1 = scale<T>(s1, g), g2 = scale<T>(s2, g), g3 = scale<T>(s3, g);
      for (; k < whole; k += 4) {
        const p = v128.load(x + (k << 2));
        a0 = madd(f32x4.mul(quad<T>(w0, k, c0, c1, c2), g0), p, a0);
        a1 = madd(f32x4.mul(quad<T>(w1, k, c0, c1, c2), g1), p, a1);
        a2 = madd(f32x4.mul(quad<T>(w2, k, c0, c1, c2), g2), p, a2);
        a3 = madd(f32x4.mul(quad<T>(w3, k, c0, c1, c2), g3), p, a3);
      }
      if (k < end) {
        const p = loadFew(x + (k << 2), end - k);
        a0 = madd(f32x4.mul(quad<T>(w0, k, c0, c1, c2), g0), p, a0);
        a1 = madd(f32x4.mul(quad<T>(w1, k, c0, c1, c2), g1), p, a1);
        a2 = madd(f32x4.mul(quad<T>(w2, k, c0, c1, c2), g2), p, a2);
        a3 = madd(f32x4.mul(quad<T>(w3, k, c0, c1, c2), g3), p, a3);
        k = end;
      }
    } else {
      for (; k < whole; k += 4) {
        const p = v128.load(x + (k << 2));
        a0 = madd(quad<T>(w0, k, c0, c1, c2), p, a0);
        a1 = madd(quad<T>(w1, k, c0, c1, c2), p, a1);
        a2 = madd(quad<T>(w2, k, c0, c1, c2), p, a2);
        a3 = madd(quad<T>(w3, k, c0, c1, c2), p, a3);
      }
      if (k < end) {
        const p = loadFew(x + (k << 2), end - k);
        a0 = madd(quad<T>(w0, k, c0, c1, c2), p, a0);
        a1 = madd(quad<T>(w1, k, c0, c1, c2), p, a1);
        a2 = madd(quad<T>(w2, k, c0, c1, c2), p, a2);
        a3 = madd(quad<T>(w3, k, c0, c1, c2), p, a3);
        k = end;
      }
    }
  }
  put(all, item, row, rows, sumsOf(a0, a1, a2, a3));
}

// Rows of q8 and q4 times inputs that were rounded, both in groups of 64: sums of integers are exact, and those of groups are added in order.
function roundedPieces<T>(all: Linear, first: u32, end: u32): void {
  const fours = (all.rows + 3) >> 2;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = piece % fours << 2;
    const rows = min<u32>(4, all.rows - row);
    const at = batch.firstRow + row;
    let i: u32 = 0;
    for (; i + 1 < batch.count; i += 2) roundedPair<T>(all, itemOf(batch, i), itemOf(batch, i + 1), row, rows, at);
    if (i < batch.count) roundedSingle<T>(all, itemOf(batch, i), row, rows, at);
  }
}

// Sixteen weights of a row as they are stored, as sixteen bytes.
// @ts-ignore: decorator
@inline
function levels<T>(row: usize, k: u32, fifteen: v128, eight: v128): v128 {
  if (!isBoolean<T>()) return v128.load(row + k);
  const bytes = v128.load64_zero(row + (k >> 1));
  const low = v128.and(bytes, fifteen), high = v128.and(i16x8.shr_u(bytes, 4), fifteen);
  return i8x16.sub(v128.shuffle<i8>(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), eight);
}

// @ts-ignore: decorator
@inline
function dots(sum: v128, low: v128, high: v128, x: v128, z: v128): v128 {
  return i32x4.add(i32x4.add(sum, i32x4.dot_i16x8_s(low, x)), i32x4.dot_i16x8_s(high, z));
}

// Of the columns, as many as are stored: whole sixteens, of which those beyond the last are zero in the inputs.
// @ts-ignore: decorator
@inline
function endOfGroup(all: Linear, k: u32): u32 {
  return min(k + ROUNDED_GROUP, all.columns + 15 & ~15);
}

function roundedSingle<T>(all: Linear, item: u32, row: u32, rows: u32, at: u32): void {
  const x = all.x + item / all.itemsPerInput * all.inputBytes;
  const xScales = x + ((all.columns + 63 & ~63) << 1);
  const step = all.rowBytes, scaleStep = all.scaleRowBytes;
  const r1 = min<u32>(1, rows - 1), r2 = min<u32>(2, rows - 1), r3 = rows - 1;
  const w0 = all.weights + at * step, w1 = w0 + r1 * step, w2 = w0 + r2 * step, w3 = w0 + r3 * step;
  const s0 = all.scales + at * scaleStep, s1 = s0 + r1 * scaleStep, s2 = s0 + r2 * scaleStep, s3 = s0 + r3 * scaleStep;
  const fifteen = constant<bool>(3), eight = constant<bool>(4), zero = i32x4.splat(0);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  for (let k: u32 = 0, g: u32 = 0; k < all.columns; g++) {
    let i0 = zero, i1 = zero, i2 = zero, i3 = zero;
    const end = endOfGroup(all, k);
    for (; k < end; k += 16) {
      const p = v128.load(x + (k << 1)), q = v128.load(x + (k << 1), 16);
      const u0 = levels<T>(w0, k, fifteen, eight);
      i0 = dots(i0, i16x8.extend_low_i8x16_s(u0), i16x8.extend_high_i8x16_s(u0), p, q);
      const u1 = levels<T>(w1, k, fifteen, eight);
      i1 = dots(i1, i16x8.extend_low_i8x16_s(u1), i16x8.extend_high_i8x16_s(u1), p, q);
      const u2 = levels<T>(w2, k, fifteen, eight);
      i2 = dots(i2, i16x8.extend_low_i8x16_s(u2), i16x8.extend_high_i8x16_s(u2), p, q);
      const u3 = levels<T>(w3, k, fifteen, eight);
      i3 = dots(i3, i16x8.extend_low_i8x16_s(u3), i16x8.extend_high_i8x16_s(u3), p, q);
    }
    const by = v128.load32_splat(xScales + (g << 2));
    a0 = madd(f32x4.convert_i32x4_s(i0), f32x4.mul(scale<T>(s0, g), by), a0);
    a1 = madd(f32x4.convert_i32x4_s(i1), f32x4.mul(scale<T>(s1, g), by), a1);
    a2 = madd(f32x4.convert_i32x4_s(i2), f32x4.mul(scale<T>(s2, g), by), a2);
    a3 = madd(f32x4.convert_i32x4_s(i3), f32x4.mul(scale<T>(s3, g), by), a3);
  }
  put(all, item, row, rows, sumsOf(a0, a1, a2, a3));
}

// Two rows at a time, since registers hold no more.
function roundedPair<T>(all: Linear, item: u32, other: u32, row: u32, rows: u32, at: u32): void {
  const first = all.x + item / all.itemsPerInput * all.inputBytes, second = all.x + other / all.itemsPerInput * all.inputBytes;
  const toScales = (all.columns + 63 & ~63) << 1;
  const step = all.rowBytes, scaleStep = all.scaleRowBytes;
  const fifteen = constant<bool>(3), eight = constant<bool>(4), zero = i32x4.splat(0);
  let sums0 = f32x4.splat(0), sums1 = sums0;
  for (let half: u32 = 0; half < rows; half += 2) {
    const w0 = all.weights + (at + half) * step, w1 = half + 1 < rows ? w0 + step : w0;
    const s0 = all.scales + (at + half) * scaleStep, s1 = half + 1 < rows ? s0 + scaleStep : s0;
    let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0;
    for (let k: u32 = 0, g: u32 = 0; k < all.columns; g++) {
      let i0 = zero, i1 = zero, j0 = zero, j1 = zero;
      const end = endOfGroup(all, k);
      for (; k < end; k += 16) {
        const u0 = levels<T>(w0, k, fifteen, eight), u1 = levels<T>(w1, k, fifteen, eight);
        const l0 = i16x8.extend_low_i8x16_s(u0), h0 = i16x8.extend_high_i8x16_s(u0);
        const l1 = i16x8.extend_low_i8x16_s(u1), h1 = i16x8.extend_high_i8x16_s(u1);
        const p = v128.load(first + (k << 1)), q = v128.load(first + (k << 1), 16);
        i0 = dots(i0, l0, h0, p, q);
        i1 = dots(i1, l1, h1, p, q);
        const v = v128.load(second + (k << 1)), w = v128.load(second + (k << 1), 16);
        j0 = dots(j0, l0, h0, v, w);
        j1 = dots(j1, l1, h1, v, w);
      }
      const by = v128.load32_splat(first + toScales + (g << 2)), to = v128.load32_splat(second + toScales + (g << 2));
      const g0 = scale<T>(s0, g), g1 = scale<T>(s1, g);
      a0 = madd(f32x4.convert_i32x4_s(i0), f32x4.mul(g0, by), a0);
      a1 = madd(f32x4.convert_i32x4_s(i1), f32x4.mul(g1, by), a1);
      b0 = madd(f32x4.convert_i32x4_s(j0), f32x4.mul(g0, to), b0);
      b1 = madd(f32x4.convert_i32x4_s(j1), f32x4.mul(g1, to), b1);
    }
    const two = sumsOf(a0, a1, b0, b1);
    if (half == 0) {
      sums0 = two;
      if (rows > 2) continue;
      put(all, item, row, rows, two);
      put(all, other, row, rows, v128.shuffle<i32>(two, two, 2, 3, 2, 3));
    } else {
      sums1 = two;
      put(all, item, row, rows, v128.shuffle<i32>(sums0, sums1, 0, 1, 4, 5));
      put(all, other, row, rows, v128.shuffle<i32>(sums0, sums1, 2, 3, 6, 7));
    }
  }
}

// @ts-ignore: decorator
@unmanaged
class Round {
  x: usize;
  y: usize;
  columns: u32;
  inputBytes: u32;
  outputBytes: u32;
}

// Rounds rows to eight bits, each 64 values by their largest: as many words of 16 bits, then the scales.
export function round(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Round>(args);
  const columns = all.columns, padded = columns + 63 & ~63;
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes, y = all.y + row * all.outputBytes;
    for (let k: u32 = 0, g: u32 = 0; k < padded; k += ROUNDED_GROUP, g++) {
      let most = f32x4.splat(0);
      for (let c = k; c < k + ROUNDED_GROUP && c < columns; c += 4) most = f32x4.pmax(most, f32x4.abs(valuesOf(x, c, columns)));
      const scale = largestOf(most) / 127;
      const by = f32x4.splat(scale == 0 ? 0 : 1 / scale);
      for (let c = k; c < k + ROUNDED_GROUP; c += 8) {
        const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(valuesOf(x, c, columns), by)));
        const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(valuesOf(x, c + 4, columns), by)));
        v128.store(y + (c << 1), i16x8.narrow_i32x4_s(low, high));
      }
      store<f32>(y + (padded << 1) + (g << 2), scale);
    }
  }
}

// Four values of a row, zeros beyond its end.
// @ts-ignore: decorator
@inline
function valuesOf(x: usize, k: u32, columns: u32): v128 {
  if (k + 4 <= columns) return v128.load(x + (k << 2));
  return k < columns ? loadFew(x + (k << 2), columns - k) : f32x4.splat(0);
}

// @ts-ignore: decorator
@unmanaged
class Activate {
  x: usize;
  y: usize;
  columns: u32;
  inputBytes: u32;
}

// y[row] = silu(x[row, k]) · x[row, columns + k]; y: [rows, columns].
export function activate(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Activate>(args);
  const columns = all.columns;
  for (let row = first; row < end; row++) {
    const from = all.x + row * all.inputBytes;
    const values = from + (columns << 2);
    const to = all.y + row * (columns << 2);
    let k: u32 = 0;
    for (; k + 4 <= columns; k += 4) {
      v128.store(to + (k << 2), gated(v128.load(from + (k << 2)), v128.load(values + (k << 2))));
    }
    if (k < columns) storeFew(to + (k << 2), gated(loadFew(from + (k << 2), columns - k), loadFew(values + (k << 2), columns - k)), columns - k);
  }
}

// @ts-ignore: decorator
@inline
function gated(gate: v128, value: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.mul(f32x4.div(gate, f32x4.add(one, exp4(f32x4.neg(gate)))), value);
}
