// E4M3: 1 sign, 4 exponent (bias 7), 3 mantissa bits. Normal values move their bits into a float32 whose exponent is rebased by 127 - 7;
// subnormal ones are mantissa / 512. (The loader refuses NaN.)
fn widen(words: vec4<u32>, quad: u32, _zero: f32) -> vec4<f32> {
  let bits = (vec4(words[quad]) >> vec4(0u, 8u, 16u, 24u)) & vec4(0xffu);
  let magnitude = bits & vec4(0x7fu);
  let normal = bitcast<vec4<f32>>((magnitude << vec4(20u)) + vec4(120u << 23u));
  let subnormal = vec4<f32>(magnitude) * 0.001953125;
  let value = select(normal, subnormal, magnitude < vec4(8u));
  return select(value, -value, bits >= vec4(0x80u));
}
