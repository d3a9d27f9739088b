// Scales and zero points beside weights of four bits as checkpoints have them (`Scaling` in core/model/packing.ts; its numbers are those of WASM_SCALINGS).
import { widenHalf } from "./simd";

// @ts-ignore: decorator
@inline
const F32: u32 = 1, F16: u32 = 2, F16_ZERO: u32 = 4, F32_ZERO: u32 = 6;

// @ts-ignore: decorator
@inline
export function int4Scale(scaling: u32, scales: usize, group: u32): f32 {
  if (scaling == F32) return load<f32>(scales + (group << 2));
  if (scaling == F32_ZERO) return load<f32>(scales + (group << 3));
  const bits = <u32>load<u16>(scales + (group << (scaling < F16_ZERO ? 1 : 2)));
  return scaling == F16 || scaling == F16_ZERO ? widenHalf(bits) : reinterpret<f32>(bits << 16);
}

// Whether zero points are floats.
// @ts-ignore: decorator
@inline
export function hasFloatZeros(scaling: u32): bool {
  return scaling == F32_ZERO;
}

// @ts-ignore: decorator
@inline
export function floatZero(scales: usize, group: u32): f32 {
  return load<f32>(scales + (group << 3), 4);
}

// @ts-ignore: decorator
@inline
export function int4Zero(scaling: u32, scales: usize, group: u32): u32 {
  return scaling < F16_ZERO ? 8 : load<u16>(scales + (group << 2), 2);
}
