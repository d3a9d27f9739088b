// Four values in E4M3: normal ones move their bits into a float32 with another exponent, subnormal ones are mantissa / 512.
fn byte_values(word: u32) -> vec4<f32> {
  let bits = (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(0xffu);
  let magnitude = bits & vec4(0x7fu);
  let normal = bitcast<vec4<f32>>((magnitude << vec4(20u)) + vec4(120u << 23u));
  let value = select(normal, vec4<f32>(magnitude) * 0.001953125, magnitude < vec4(8u));
  return select(value, -value, bits >= vec4(0x80u));
}

