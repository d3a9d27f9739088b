// Scales and zero points beside weights of four bits as checkpoints have them (`Scaling` in core/model/packing.ts; its numbers are those of WASM_SCALINGS).
import { widenHalf } from "./simd";

// @ts-ignore: decorator
@inline
const F32: u32 = 1, F16: u32 = 2, F16_ZERO: u32 = 4;

// @ts-ignore: decorator
@inline
export function int4Scale(scaling: u32, scales: usize, group: u32): f32 {
  if (scaling == F32) return load<f32>(scales + (group << 2));
  const bits = <u32>load<u16>(scales + (group << (scaling < F16_ZERO ? 1 : 2)));
  return scaling == F16 || scaling == F16_ZERO ? widenHalf(bits) : reinterpret<f32>(bits << 16);
}

// @ts-ignore: decorator
@inline
export function int4Zero(scaling: u32, scales: usize, group: u32): u32 {
  return scaling < F16_ZERO ? 8 : load<u16>(scales + (group << 2), 2);
}
