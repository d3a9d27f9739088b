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
}

// A piece is one item, a token's head. Columns are a multiple of 4.
export function absorb(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Absorb>(args);
  switch (all.format) {
    case 0: return items<f32>(all, first, end);
    case 1: return items<i16>(all, first, end);
    case 2: return items<u16>(all, first, end);
    case 3: return items<u8>(all, first, end);
    case 4: return items<i8>(all, first, end);
    case 5: return items<bool>(all, first, end);
    case 6: return items<u32>(all, first, end);
  }
}

function items<T>(all: Absorb, first: u32, end: u32): void {
  for (let item = first; item < end; item++) one<T>(all, item);
}

function one<T>(all: Absorb, item: u32): void {
  const columns = all.columns, rows = all.rows, rowBytes = all.rowBytes, scaleRowBytes = all.scaleRowBytes;
  const head = item % all.heads;
  const weights = all.weights + head * rows * rowBytes;
  const scales = all.scales + head * rows * scaleRowBytes;
  const x = all.x + item * all.inputBytes;
  const to = all.queries + item * all.queryBytes;
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(2), int4 = isInteger<T>() && sizeof<T>() == 4;
  let k: u32 = 0;
  for (; k + 16 <= columns; k += 16) {
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let r: u32 = 0; r < rows; r++) {
      const row = weights + r * rowBytes;
      let by = v128.load32_splat(x + (r << 2));
      let zero = c2;
      if (scaled<T>()) by = f32x4.mul(by, scale<T>(scales + r * scaleRowBytes, k / all.group));
      else if (int4) {
        by = f32x4.mul(by, f32x4.splat(int4Scale(all.scaling, scales + r * scaleRowBytes, k / all.group)));
        zero = f32x4.splat(<f32>int4Zero(all.scaling, scales + r * scaleRowBytes, k / all.group));
      }
      a = madd(quad<T>(row, k, c0, c1, zero), by, a);
      b = madd(quad<T>(row, k + 4, c0, c1, zero), by, b);
      c = madd(quad<T>(row, k + 8, c0, c1, zero), by, c);
      d = madd(quad<T>(row, k + 12, c0, c1, zero), by, d);
    }
    const at = to + (k << 2);
    v128.store(at, a);
    v128.store(at, b, 16);
    v128.store(at, c, 32);
    v128.store(at, d, 48);
  }
  for (; k < columns; k += 4) {
    let a = f32x4.splat(0);
    for (let r: u32 = 0; r < rows; r++) {
      let by = v128.load32_splat(x + (r << 2));
      let zero = c2;
      if (scaled<T>()) by = f32x4.mul(by, scale<T>(scales + r * scaleRowBytes, k / all.group));
      else if (int4) {
        by = f32x4.mul(by, f32x4.splat(int4Scale(all.scaling, scales + r * scaleRowBytes, k / all.group)));
        zero = f32x4.splat(<f32>int4Zero(all.scaling, scales + r * scaleRowBytes, k / all.group));
      }
      a = madd(quad<T>(weights + r * rowBytes, k, c0, c1, zero), by, a);
    }
    v128.store(to + (k << 2), a);
  }
}
