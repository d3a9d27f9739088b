// Two values, exact in f16, times a scale of which f16 has 22 bits in two parts: rounded as the product in f32 would be, but for next to nothing. (NVIDIA's driver
// takes the parts of an fp8 scale together, so that it is rounded, too.)
fn scaled(values: vec2<f16>, scale: f32) -> u32 {
  let high = f16(scale);
  return bitcast<u32>(fma(values, vec2(high), values * vec2(f16(scale - f32(high)))));
}
