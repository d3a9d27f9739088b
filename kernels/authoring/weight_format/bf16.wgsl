// A bfloat16 is the upper half of a float32.
fn widen(words: vec4<u32>, quad: u32, _zero: f32) -> vec4<f32> {
  let pair = select(words.xy, words.zw, quad == 1u);
  return bitcast<vec4<f32>>(vec4(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u));
}
