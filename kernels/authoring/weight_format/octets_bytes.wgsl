// The bytes, made unsigned, go into the mantissas of 1024 + 128 + level. Divided by 128, levels leave a scale of up to 511 its place in f16; a larger one, some of whose
// weights f16 cannot hold, counts as that.
fn weight_octet(words: vec4<u32>, at: u32, _zero: f32, scale: f32) -> vec4<u32> {
  let pair = vec2(words[2u * at], words[2u * at + 1u]) ^ vec2(0x80808080u);
  let mantissas = ((pair.xxyy >> vec4(0u, 8u, 0u, 8u)) & vec4(0x00ff00ffu)) | vec4(0x64006400u);
  let less = vec2(f16(-9.0));
  let unit = vec2(f16(0.0078125));
  let by = clamp(scale * 128.0, -MOST_F16, MOST_F16);
  return vec4(
    scaled(fma(bitcast<vec2<f16>>(mantissas.x), unit, less), by),
    scaled(fma(bitcast<vec2<f16>>(mantissas.y), unit, less), by),
    scaled(fma(bitcast<vec2<f16>>(mantissas.z), unit, less), by),
    scaled(fma(bitcast<vec2<f16>>(mantissas.w), unit, less), by),
  );
}
