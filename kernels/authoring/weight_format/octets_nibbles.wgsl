// Of a word, levels i and i + 4 are half a word apart.
fn input_octet(inputs: vec4<u32>) -> vec4<u32> {
  let low = (inputs.xy & vec2(0xffffu)) | (inputs.zw << vec2(16u));
  let high = (inputs.xy >> vec2(16u)) | (inputs.zw & vec2(0xffff0000u));
  return vec4(low.x, high.x, low.y, high.y);
}

// Levels go into the mantissas of 1024 + level. Less their zero point and divided by 16, they leave a scale of up to 4094 its place in f16; a larger one, some of whose
// weights f16 cannot hold, counts as that.
fn weight_octet(words: vec4<u32>, at: u32, zero: f32, scale: f32) -> vec4<u32> {
  let mantissas = ((vec4(words[at]) >> vec4(0u, 4u, 8u, 12u)) & vec4(0x000f000fu)) | vec4(0x64006400u);
  let less = vec2(f16(-64.0 - zero / 16.0));
  let unit = vec2(f16(0.0625));
  let by = clamp(scale * 16.0, -MOST_F16, MOST_F16);
  return vec4(
    scaled(fma(bitcast<vec2<f16>>(mantissas.x), unit, less), by),
    scaled(fma(bitcast<vec2<f16>>(mantissas.y), unit, less), by),
    scaled(fma(bitcast<vec2<f16>>(mantissas.z), unit, less), by),
    scaled(fma(bitcast<vec2<f16>>(mantissas.w), unit, less), by),
  );
}
