fn widen(words: vec4<u32>, quad: u32, _zero: f32) -> vec4<f32> {
  let pair = select(words.xy, words.zw, quad == 1u);
  return vec4(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
