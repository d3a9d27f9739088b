// Whether all weights of a vector have the same scale.
const ONE_SCALE = GROUP == 0u || GROUP % (4u * QUADS) == 0u;

fn widen_at(words: vec4<u32>, quad: u32, row: u32, column: u32) -> vec4<f32> {
  let word = scale_word(row, column);
  return widen(words, quad, zero_from(word)) * scale_from(word, column);
}

fn weight4(row: u32, k4: u32) -> vec4<f32> { return widen_at(weights[row * ROW_VECTORS + k4 / QUADS], k4 % QUADS, row, k4 * 4u); }
