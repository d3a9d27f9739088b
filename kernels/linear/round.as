// Inputs in eight bits.
import { largestOf, loadFew } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Round {
  x: usize;
  y: usize;
  columns: u32;
  inputBytes: u32;
  outputBytes: u32;
  // What stored weights are above what they mean.
  above: i32;
  // Whether weights are nibbles, of which a load brings those of even columns before those of odd ones.
  apart: u32;
  // Values that share a scale: whole 32s.
  group: u32;
}

// Rounds rows to eight bits, each group by its largest: bytes, then of each group its scale and its sum times `above`.
export function round(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Round>(args);
  const columns = all.columns, group = all.group, padded = columns + 63 & ~63;
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.inputBytes, y = all.y + row * all.outputBytes;
    for (let k: u32 = 0, g: u32 = 0; k < padded; k += group, g++) {
      let most = f32x4.splat(0);
      for (let c = k; c < k + group && c < columns; c += 4) most = f32x4.max(most, f32x4.abs(valuesOf(x, c, columns)));
      const scale = largestOf(most) / 127;
      const by = f32x4.splat(scale == 0 ? 0 : 1 / scale);
      let sum = i32x4.splat(0);
      for (let c = k; c < k + group; c += 32) {
        const a = i16x8.narrow_i32x4_s(level(x, c, columns, by), level(x, c + 4, columns, by));
        const b = i16x8.narrow_i32x4_s(level(x, c + 8, columns, by), level(x, c + 12, columns, by));
        const d = i16x8.narrow_i32x4_s(level(x, c + 16, columns, by), level(x, c + 20, columns, by));
        const e = i16x8.narrow_i32x4_s(level(x, c + 24, columns, by), level(x, c + 28, columns, by));
        const eights = i16x8.add(i16x8.add(a, b), i16x8.add(d, e));
        sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(eights));
        const low = i8x16.narrow_i16x8_s(a, b), high = i8x16.narrow_i16x8_s(d, e);
        if (all.apart) {
          v128.store(y + c, v128.shuffle<i8>(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
          v128.store(y + c, v128.shuffle<i8>(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), 16);
        } else {
          v128.store(y + c, low);
          v128.store(y + c, high, 16);
        }
      }
      const beside = y + padded + (g << 3);
      store<f32>(beside, scale);
      const lanes = i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
      store<i32>(beside, lanes * all.above, 4);
    }
  }
}

// Four values of a row in eight bits, zeros beyond its end.
// @ts-ignore: decorator
@inline
function level(x: usize, k: u32, columns: u32, by: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(valuesOf(x, k, columns), by)));
}

// @ts-ignore: decorator
@inline
function valuesOf(x: usize, k: u32, columns: u32): v128 {
  if (k + 4 <= columns) return v128.load(x + (k << 2));
  return k < columns ? loadFew(x + (k << 2), columns - k) : f32x4.splat(0);
}
