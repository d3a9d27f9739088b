// What kernels compute with, four f32 at a time.
import { madd } from "./madd";

// Sum of four, always in this order.
// @ts-ignore: decorator
@inline
export function sumOf(v: v128): f32 {
  return (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1)) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

// @ts-ignore: decorator
@inline
export function largestOf(v: v128): f32 {
  return max(max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)), max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
}

// Sums of four vectors, as one: lanes are laid beside each other, and added as sumOf adds them.
// @ts-ignore: decorator
@inline
export function sumsOf(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const low = f32x4.add(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
  const ab2 = v128.shuffle<f32>(a, b, 2, 6, 3, 7), cd2 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  return f32x4.add(low, f32x4.add(v128.shuffle<f64>(ab2, cd2, 0, 2), v128.shuffle<f64>(ab2, cd2, 1, 3)));
}

// The first `count` (1 to 3) of four floats, and zeros: what lies behind them is not read.
// @ts-ignore: decorator
@inline
export function loadFew(p: usize, count: u32): v128 {
  let v = f32x4.replace_lane(f32x4.splat(0), 0, load<f32>(p));
  if (count > 1) v = f32x4.replace_lane(v, 1, load<f32>(p, 4));
  if (count > 2) v = f32x4.replace_lane(v, 2, load<f32>(p, 8));
  return v;
}

// @ts-ignore: decorator
@inline
export function storeFew(p: usize, v: v128, count: u32): void {
  store<f32>(p, f32x4.extract_lane(v, 0));
  if (count > 1) store<f32>(p, f32x4.extract_lane(v, 1), 4);
  if (count > 2) store<f32>(p, f32x4.extract_lane(v, 2), 8);
}

// What exp4 needs: bounds, log₂ e, ln 2 in two parts, a polynomial, 1, and 127. Loaded, since V8 would make each anew in several instructions.
const EXP = memory.data<u32>([
  0xc2aeac4f, 0xc2aeac4f, 0xc2aeac4f, 0xc2aeac4f, 0x42b00000, 0x42b00000, 0x42b00000, 0x42b00000, 0x3fb8aa3b, 0x3fb8aa3b, 0x3fb8aa3b, 0x3fb8aa3b,
  0x3f318000, 0x3f318000, 0x3f318000, 0x3f318000, 0x395e8083, 0x395e8083, 0x395e8083, 0x395e8083, 0x39506967, 0x39506967, 0x39506967, 0x39506967,
  0x3ab743ce, 0x3ab743ce, 0x3ab743ce, 0x3ab743ce, 0x3c088908, 0x3c088908, 0x3c088908, 0x3c088908, 0x3d2aa9c1, 0x3d2aa9c1, 0x3d2aa9c1, 0x3d2aa9c1,
  0x3e2aaaaa, 0x3e2aaaaa, 0x3e2aaaaa, 0x3e2aaaaa, 0x3f000000, 0x3f000000, 0x3f000000, 0x3f000000, 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000,
  127, 127, 127, 127,
], 16);

// eˣ to 1.5 units in the last place: 2ⁿ · e^r with |r| ≤ ln 2 / 2, by Cephes' polynomial. Below −87 it is 0, above 88 as at 88.
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const held = f32x4.pmin(f32x4.pmax(x, v128.load(EXP)), v128.load(EXP, 16));
  const n = f32x4.nearest(f32x4.mul(held, v128.load(EXP, 32)));
  let r = f32x4.sub(held, f32x4.mul(n, v128.load(EXP, 48)));
  r = f32x4.add(r, f32x4.mul(n, v128.load(EXP, 64)));
  let p = v128.load(EXP, 80);
  p = madd(p, r, v128.load(EXP, 96));
  p = madd(p, r, v128.load(EXP, 112));
  p = madd(p, r, v128.load(EXP, 128));
  p = madd(p, r, v128.load(EXP, 144));
  p = madd(p, r, v128.load(EXP, 160));
  p = f32x4.add(madd(p, f32x4.mul(r, r), r), v128.load(EXP, 176));
  const power = i32x4.shl(i32x4.add(i32x4.relaxed_trunc_f32x4_s(n), v128.load(EXP, 192)), 23);
  const e = f32x4.mul(p, power);
  return v128.and(e, f32x4.ge(x, v128.load(EXP)));
}

// @ts-ignore: decorator
@inline
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

// Constants of vectors. V8 makes one anew wherever it is used, which takes as long as what it is used for; what was loaded stays in a register.
const CONSTANTS = memory.data<u32>([
  // f16: bits of a sign and of a magnitude that was shifted into place, and 2¹¹².
  0x8fffe000, 0x8fffe000, 0x8fffe000, 0x8fffe000, 0x77800000, 0x77800000, 0x77800000, 0x77800000,
  // fp8 likewise, with 2¹²⁰, and which byte comes into the highest place of each lane.
  0x87f00000, 0x87f00000, 0x87f00000, 0x87f00000, 0x7b800000, 0x7b800000, 0x7b800000, 0x7b800000, 0x00808080, 0x01808080, 0x02808080, 0x03808080,
  // fp8 as halves: bits of a sign and of a magnitude.
  0x87f087f0, 0x87f087f0, 0x87f087f0, 0x87f087f0,
  // q4: a nibble of each lane, what brings it down, and 8.
  0xf, 0xf0, 0xf00, 0xf000, 0x3f800000, 0x3d800000, 0x3b800000, 0x39800000, 0x41000000, 0x41000000, 0x41000000, 0x41000000,
  // 15 and 128 in every byte, 1 in every half of a word.
  0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x80808080, 0x80808080, 0x80808080, 0x80808080, 0x00010001, 0x00010001, 0x00010001, 0x00010001,
], 16);

// What quad needs, loaded once.
// @ts-ignore: decorator
@inline
export function constant<T>(which: usize): v128 {
  if (isFloat<T>()) return v128.load(CONSTANTS);
  if (isBoolean<T>() || sizeof<T>() == 4) return v128.load(CONSTANTS + 96 + (which << 4));
  if (sizeof<T>() == 1) return v128.load(CONSTANTS + 32 + (which << 4));
  return v128.load(CONSTANTS + (which << 4));
}

// Four f16, which lie in the lower halves of lanes: as f32 with the exponent that is too low by 112, times 2¹¹². Infinities become large numbers.
// @ts-ignore: decorator
@inline
export function widenHalves(h: v128, mask: v128, power: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(i32x4.shl(h, 16), 3), mask), power);
}

// One.
// @ts-ignore: decorator
@inline
export function widenHalf(h: u32): f32 {
  return f32x4.extract_lane(widenHalves(i32x4.splat(h), constant<i16>(0), constant<i16>(1)), 0);
}

// Bits of the nearest f16 (ties to even).
export function halfOf(x: f32): u32 {
  const bits = reinterpret<u32>(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  // What is subnormal is rounded by adding what leaves as many bits of it.
  if (magnitude < 0x38800000) return sign | (reinterpret<u32>(reinterpret<f32>(magnitude) + 0.5) - 0x3f000000);
  return sign | (magnitude + 0xc8000fff + (magnitude >> 13 & 1)) >> 13;
}

// Storage formats of weights (core/model/packing.ts), as types for the compiler to choose by: f32 is f32, u16 bf16, i16 f16, u8 fp8, i8 q8, bool q4, u32 int4.

// Whether weights have scales here; those of int4 are in int4.as.
// @ts-ignore: decorator
@inline
export function scaled<T>(): bool {
  return sizeof<T>() == 1;
}

// Weights k … k + 3 of a row, without their scale; k is a multiple of 4. Of int4, c2 is what is subtracted from levels. Of fp8, the exponent is too low by 120 before it is multiplied; NaN becomes 480.
// @ts-ignore: decorator
@inline
export function quad<T>(row: usize, k: u32, c0: v128, c1: v128, c2: v128): v128 {
  if (isFloat<T>()) return v128.load(row + (k << 2));
  if (sizeof<T>() == 2) {
    const h = v128.load16x4_u(row + (k << 1));
    return isSigned<T>() ? widenHalves(h, c0, c1) : i32x4.shl(h, 16);
  }
  if (isBoolean<T>() || sizeof<T>() == 4) {
    const nibbles = v128.and(i32x4.splat(load<u16>(row + (k >> 1))), c0);
    return f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(nibbles), c1), c2);
  }
  if (isSigned<T>()) return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(row + k))));
  return f32x4.mul(fewOfEight<T>(row, k, c0, c1, c2), c1);
}

// The same, but of fp8 without what makes up for the exponent, as lowQuad has them.
// @ts-ignore: decorator
@inline
export function fewOfEight<T>(row: usize, k: u32, c0: v128, c1: v128, c2: v128): v128 {
  if (isFloat<T>() || sizeof<T>() != 1 || isSigned<T>()) return quad<T>(row, k, c0, c1, c2);
  return v128.and(i32x4.shr_s(i8x16.relaxed_swizzle(v128.load32_zero(row + k), c2), 4), c0);
}

// Eight weights of two bytes or one, k … k + 7, as sixteen bits that are the upper halves of what {@link lowQuad} and {@link highQuad} make of them.
// @ts-ignore: decorator
@inline
export function eight<T>(row: usize, k: u32, mask: v128): v128 {
  if (sizeof<T>() == 2) return v128.load(row + (k << 1));
  return v128.and(i16x8.shl(v128.load8x8_s(row + k), 4), mask);
}

// The first four of eight, as quad has them; of fp8 without what makes up for the exponent.
// @ts-ignore: decorator
@inline
export function lowQuad<T>(halves: v128, c0: v128, c1: v128): v128 {
  return widened<T>(v128.shuffle<i16>(i32x4.splat(0), halves, 0, 8, 1, 9, 2, 10, 3, 11), c0, c1);
}

// The last four.
// @ts-ignore: decorator
@inline
export function highQuad<T>(halves: v128, c0: v128, c1: v128): v128 {
  return widened<T>(v128.shuffle<i16>(i32x4.splat(0), halves, 4, 12, 5, 13, 6, 14, 7, 15), c0, c1);
}

// @ts-ignore: decorator
@inline
function widened<T>(upper: v128, c0: v128, c1: v128): v128 {
  if (sizeof<T>() == 2 && isSigned<T>()) return f32x4.mul(v128.and(i32x4.shr_s(upper, 3), c0), c1);
  return upper;
}

// A scale: f32 beside fp8, f16 beside q8 and q4.
// @ts-ignore: decorator
@inline
export function scale<T>(scales: usize, group: u32): v128 {
  if (isBoolean<T>() || isSigned<T>()) return f32x4.splat(widenHalf(load<u16>(scales + (group << 1))));
  return v128.load32_splat(scales + (group << 2));
}
