fn scale_word(row: u32, column: u32) -> vec2<u32> {
  let at = row * SCALE_ROW_WORDS + column / GROUP * 2u;
  return vec2(scales[at], scales[at + 1u]);
}
fn scale_from(word: vec2<u32>, column: u32) -> f32 { return bitcast<f32>(word.x); }
