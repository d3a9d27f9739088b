// Latents in eight bits; where they lie is in q8.ts.
import { constant, halfOf, widenHalves } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
export class Q8Slot {
  // Bytes from a slot's beginning.
  rope: u32;
  scales: u32;
  bytes: u32;
  // Values before the rotated key, and with it.
  ropeOffset: u32;
  width: u32;
  // Where the groups that share a scale end.
  groups: u32;
  ends: usize;
}

// Groups whose values are all smaller are zero.
const SMALLEST: f32 = 7.888609052210118e-31;

// Widens a slot to f32.
export function widenQ8(all: Q8Slot, slot: usize, to: usize): void {
  let k: u32 = 0;
  for (let g: u32 = 0; g < all.groups; g++) {
    const end = load<u32>(all.ends + (g << 2)), scale = load<f32>(slot + all.scales + (g << 2)), by = f32x4.splat(scale);
    for (; k + 4 <= end; k += 4) {
      const values = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(slot + k))));
      v128.store(to + (k << 2), f32x4.mul(values, by));
    }
    for (; k < end; k++) store<f32>(to + (k << 2), <f32>load<i8>(slot + k) * scale);
  }
  for (; k < all.ropeOffset; k++) store<f32>(to + (k << 2), 0);
  const c0 = constant<i16>(0), c1 = constant<i16>(1), from = slot + all.rope;
  for (let i: u32 = 0; k < all.width; i += 4, k += 4) v128.store(to + (k << 2), widenHalves(v128.load16x4_u(from + (i << 1)), c0, c1));
}

// The nearest bytes to four values (ties to even), in the first lanes.
function bytes(values: v128): v128 {
  const levels = i32x4.trunc_sat_f32x4_s(f32x4.nearest(values));
  const halves = i16x8.narrow_i32x4_s(levels, levels);
  return i8x16.narrow_i16x8_s(halves, halves);
}

// Rounds a token's values.
export function roundQ8(all: Q8Slot, values: usize, slot: usize): void {
  let k: u32 = 0;
  for (let g: u32 = 0; g < all.groups; g++) {
    const begin = k, end = load<u32>(all.ends + (g << 2));
    let fours = f32x4.splat(0);
    for (; k + 4 <= end; k += 4) fours = f32x4.max(fours, f32x4.abs(v128.load(values + (k << 2))));
    let largest = max(max(f32x4.extract_lane(fours, 0), f32x4.extract_lane(fours, 1)), max(f32x4.extract_lane(fours, 2), f32x4.extract_lane(fours, 3)));
    for (; k < end; k++) largest = max(largest, abs(load<f32>(values + (k << 2))));
    const none = largest < SMALLEST, scale: f32 = none ? 0 : largest / 127, inverse: f32 = none ? 0 : 127 / largest;
    store<f32>(slot + all.scales + (g << 2), scale);
    const by = f32x4.splat(inverse);
    for (k = begin; k + 4 <= end; k += 4) store<u32>(slot + k, i32x4.extract_lane(bytes(f32x4.mul(v128.load(values + (k << 2)), by)), 0));
    for (; k < end; k++) store<u8>(slot + k, i8x16.extract_lane_u(bytes(f32x4.mul(v128.load32_splat(values + (k << 2)), by)), 0));
  }
  for (; k < all.rope; k++) store<u8>(slot + k, 0);
  for (let i = all.ropeOffset; i < all.width; i++) store<u16>(slot + all.rope + (i - all.ropeOffset << 1), halfOf(load<f32>(values + (i << 2))));
  for (let at = all.scales + (all.groups << 2); at < all.bytes; at += 4) store<u32>(slot + at, 0);
}
