// Linear layers. Every output is one sum of four lanes over the columns in order, whatever else is computed beside it, so that it does not depend on how many items
// or threads there are.
import { madd } from "../device/wasm/madd";
import { constant, eight, exp4, highQuad, loadFew, lowQuad, quad, scale, scaled, storeFew, sumsOf } from "../device/wasm/simd";

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

// A piece is four rows of one batch.
export function linear(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Linear>(args);
  switch (all.format) {
    case 0: return pieces<f32>(all, first, end, scratch);
    case 1: return pieces<i16>(all, first, end, scratch);
    case 2: return pieces<u16>(all, first, end, scratch);
    case 3: return pieces<u8>(all, first, end, scratch);
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
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), mask = constant<u8>(3);
  const columns = all.columns;
  const group = scaled<T>() ? all.group : columns;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + group, columns);
    if (scaled<T>()) {
      const by = scale<T>(scales, g);
      if (folds(scales, g)) {
        const folded = f32x4.mul(by, c1);
        for (; k + 8 <= end; k += 8) {
          const halves = eight<T>(row, k, mask);
          v128.store(to + (k << 2), f32x4.mul(lowQuad<T>(halves, c0, c1), folded));
          v128.store(to + (k << 2), f32x4.mul(highQuad<T>(halves, c0, c1), folded), 16);
        }
      }
      for (; k < end; k += 4) v128.store(to + (k << 2), f32x4.mul(quad<T>(row, k, c0, c1, c2), by));
    } else {
      if (!isFloat<T>()) {
        for (; k + 8 <= end; k += 8) {
          const halves = eight<T>(row, k, mask);
          v128.store(to + (k << 2), lowQuad<T>(halves, c0, c1));
          v128.store(to + (k << 2), highQuad<T>(halves, c0, c1), 16);
        }
      }
      for (; k < end; k += 4) v128.store(to + (k << 2), quad<T>(row, k, c0, c1, c2));
    }
  }
}

// Whether a scale can take over what makes up for the exponent of fp8, 2¹²⁰: both ways are exact but for one rounding, the same.
// @ts-ignore: decorator
@inline
function folds(scales: usize, g: u32): bool {
  const by = load<f32>(scales + (g << 2));
  return by < 128 && by > -128;
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
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), mask = constant<u8>(3);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const group = scaled<T>() ? all.group : columns;
  for (let k: u32 = 0, g: u32 = 0; k < columns; g++) {
    const end = min(k + group, columns);
    const whole = end & ~3;
    if (scaled<T>()) {
      const g0 = scale<T>(s0, g), g1 = scale<T>(s1, g), g2 = scale<T>(s2, g), g3 = scale<T>(s3, g);
      if (folds(s0, g) && folds(s1, g) && folds(s2, g) && folds(s3, g)) {
        const f0 = f32x4.mul(g0, c1), f1 = f32x4.mul(g1, c1), f2 = f32x4.mul(g2, c1), f3 = f32x4.mul(g3, c1);
        for (; k + 8 <= end; k += 8) {
          const p = v128.load(x + (k << 2)), q = v128.load(x + (k << 2), 16);
          const h0 = eight<T>(w0, k, mask);
          a0 = madd(f32x4.mul(highQuad<T>(h0, c0, c1), f0), q, madd(f32x4.mul(lowQuad<T>(h0, c0, c1), f0), p, a0));
          const h1 = eight<T>(w1, k, mask);
          a1 = madd(f32x4.mul(highQuad<T>(h1, c0, c1), f1), q, madd(f32x4.mul(lowQuad<T>(h1, c0, c1), f1), p, a1));
          const h2 = eight<T>(w2, k, mask);
          a2 = madd(f32x4.mul(highQuad<T>(h2, c0, c1), f2), q, madd(f32x4.mul(lowQuad<T>(h2, c0, c1), f2), p, a2));
          const h3 = eight<T>(w3, k, mask);
          a3 = madd(f32x4.mul(highQuad<T>(h3, c0, c1), f3), q, madd(f32x4.mul(lowQuad<T>(h3, c0, c1), f3), p, a3));
        }
      }
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
      if (!isFloat<T>()) {
        for (; k + 8 <= end; k += 8) {
          const p = v128.load(x + (k << 2)), q = v128.load(x + (k << 2), 16);
          const h0 = eight<T>(w0, k, mask);
          a0 = madd(highQuad<T>(h0, c0, c1), q, madd(lowQuad<T>(h0, c0, c1), p, a0));
          const h1 = eight<T>(w1, k, mask);
          a1 = madd(highQuad<T>(h1, c0, c1), q, madd(lowQuad<T>(h1, c0, c1), p, a1));
          const h2 = eight<T>(w2, k, mask);
          a2 = madd(highQuad<T>(h2, c0, c1), q, madd(lowQuad<T>(h2, c0, c1), p, a2));
          const h3 = eight<T>(w3, k, mask);
          a3 = madd(highQuad<T>(h3, c0, c1), q, madd(lowQuad<T>(h3, c0, c1), p, a3));
        }
      }
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
