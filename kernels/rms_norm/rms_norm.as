// Rows that are normalised, after what is to be added to them was added.
import { madd } from "../device/wasm/madd";
import { loadFew, storeFew, sumOf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Normalise {
  x: usize;
  // Added to x before, and there kept; 0: nothing.
  delta: usize;
  gamma: usize;
  y: usize;
  width: u32;
  inputBytes: u32;
  eps: f32;
}

// y[row] = x[row] / √(mean(x[row]²) + eps) · gamma.
export function normalise(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Normalise>(args);
  const width = all.width;
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes;
    const y = all.y + row * (width << 2);
    if (all.delta) add(x, all.delta + row * (width << 2), width);
    const scale = f32x4.splat(1 / sqrt(squares(x, width) / <f32>width + all.eps));
    let k: u32 = 0;
    for (; k + 4 <= width; k += 4) {
      const at = k << 2;
      v128.store(y + at, f32x4.mul(f32x4.mul(v128.load(x + at), scale), v128.load(all.gamma + at)));
    }
    if (k < width) {
      const at = k << 2;
      storeFew(y + at, f32x4.mul(f32x4.mul(loadFew(x + at, width - k), scale), loadFew(all.gamma + at, width - k)), width - k);
    }
  }
}

// @ts-ignore: decorator
@inline
function add(x: usize, delta: usize, width: u32): void {
  let k: u32 = 0;
  for (; k + 4 <= width; k += 4) v128.store(x + (k << 2), f32x4.add(v128.load(x + (k << 2)), v128.load(delta + (k << 2))));
  if (k < width) storeFew(x + (k << 2), f32x4.add(loadFew(x + (k << 2), width - k), loadFew(delta + (k << 2), width - k)), width - k);
}

// Σ x², in four sums of four lanes.
export function squares(x: usize, width: u32): f32 {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  let k: u32 = 0;
  for (; k + 16 <= width; k += 16) {
    const p = x + (k << 2);
    const u = v128.load(p), v = v128.load(p, 16), w = v128.load(p, 32), z = v128.load(p, 48);
    a = madd(u, u, a);
    b = madd(v, v, b);
    c = madd(w, w, c);
    d = madd(z, z, d);
  }
  for (; k + 4 <= width; k += 4) {
    const u = v128.load(x + (k << 2));
    a = madd(u, u, a);
  }
  if (k < width) {
    const u = loadFew(x + (k << 2), width - k);
    b = madd(u, u, b);
  }
  return sumOf(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
}
