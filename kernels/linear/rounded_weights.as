// What is stored of q8 and q4, as dot products of bytes take it.
//
// How weights are multiplied, as types for the compiler to choose by. Where the processor has one instruction for a dot product of bytes, bool is q4, and q8 is u8 if
// the second operand may be an unsigned byte, i8 if it may be a signed one (kernels/device/wasm/byte_dots.ts). Where it takes three, products are added in 16 bits as
// far as they fit: u16 is q4, and i16 is q8, whose weights take over the inputs' signs, so that the second operand has seven bits.
import { madd } from "../device/wasm/madd";
import { constant, widenHalves } from "../device/wasm/simd";
import { Linear } from "./linear";

// Whether weights are q4.
// @ts-ignore: decorator
@inline
export function isQ4<T>(): bool {
  return isBoolean<T>() || sizeof<T>() == 2 && !isSigned<T>();
}

// Weights that share a scale (core/model/packing.ts).
// @ts-ignore: decorator
@inline
export const GROUP: u32 = 64;

// Inputs that share one, as INPUT_GROUPS (wasm.ts) has it: fewer for q8, where rounding inputs would otherwise cost as much as rounding weights did.
// @ts-ignore: decorator
@inline
export function inputGroup<T>(): u32 {
  return isQ4<T>() ? 64 : 32;
}

// Columns whose weights one load brings.
// @ts-ignore: decorator
@inline
export function step<T>(): u32 {
  return isQ4<T>() ? 32 : 16;
}

// Of the columns, as many as are stored: what lies beyond the last is zero in the inputs.
// @ts-ignore: decorator
@inline
export function endOfGroup<T>(all: Linear, k: u32): u32 {
  return min(k + inputGroup<T>(), all.columns + step<T>() - 1 & ~(step<T>() - 1));
}

// What a load is changed by: nibbles are cut out, signs turned.
// @ts-ignore: decorator
@inline
export function changing<T>(): v128 {
  return constant<bool>(isQ4<T>() ? 3 : 4);
}

// @ts-ignore: decorator
@inline
export function stored<T>(row: usize, k: u32, by: v128): v128 {
  if (isQ4<T>()) return v128.load(row + (k >> 1));
  const weights = v128.load(row + k);
  return isSigned<T>() ? weights : v128.xor(weights, by);
}

// Of 16 bits, what dot_i16x8_s adds pairs by.
// @ts-ignore: decorator
@inline
export function pairs(): v128 {
  return constant<bool>(5);
}

// Products of two and two neighbours, of weights and inputs of which signs say which weights are negated.
// @ts-ignore: decorator
@inline
export function products(weights: v128, inputs: v128, signs: v128): v128 {
  return i16x8.relaxed_dot_i8x16_i7x16_s(i8x16.sub(v128.xor(weights, signs), signs), inputs);
}

// A group's scales of four rows.
// @ts-ignore: decorator
@inline
export function scalesOf(s0: usize, s1: usize, s2: usize, s3: usize, g: u32, mask: v128, power: v128): v128 {
  const at = g << 1;
  let h = v128.load16_lane(s0 + at, i32x4.splat(0), 0);
  h = v128.load16_lane(s1 + at, h, 2);
  h = v128.load16_lane(s2 + at, h, 4);
  h = v128.load16_lane(s3 + at, h, 6);
  return widenHalves(h, mask, power);
}

// What a group adds to four outputs. Beside its scale an input has what stored weights were above what they mean, times its sum.
// @ts-ignore: decorator
@inline
export function added(sum: v128, dots: v128, scales: v128, x: usize, g: u32): v128 {
  const exact = f32x4.convert_i32x4_s(i32x4.sub(dots, v128.load32_splat(x + (g << 3), 4)));
  return madd(exact, f32x4.mul(scales, v128.load32_splat(x + (g << 3))), sum);
}
