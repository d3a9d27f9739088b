fn widen(words: vec4<u32>, quad: u32, _zero: f32) -> vec4<f32> {
  return bitcast<vec4<f32>>(words);
}
