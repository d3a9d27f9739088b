// The bits of E4M3 are those of f16 with three fewer of the exponent's range: moved, they are the value / 256, subnormal ones too. (The loader refuses NaN.) The
// largest weight, 448, leaves a scale of up to 146 its place in f16; a larger one, some of whose weights f16 cannot hold, counts as that.
fn weight_octet(words: vec4<u32>, at: u32, _zero: f32, scale: f32) -> vec4<u32> {
  let pair = vec2(words[2u * at], words[2u * at + 1u]);
  let even = ((pair << vec2(7u)) & vec2(0x3f803f80u)) | ((pair << vec2(8u)) & vec2(0x80008000u));
  let odd = ((pair >> vec2(1u)) & vec2(0x3f803f80u)) | (pair & vec2(0x80008000u));
  let by = clamp(scale * 256.0, -37430.0, 37430.0);
  return vec4(
    scaled(bitcast<vec2<f16>>(even.x), by),
    scaled(bitcast<vec2<f16>>(odd.x), by),
    scaled(bitcast<vec2<f16>>(even.y), by),
    scaled(bitcast<vec2<f16>>(odd.y), by),
  );
}
