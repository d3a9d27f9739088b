// Whether all weights of a vector have the same scale.
const ONE_SCALE = GROUP == 0u || GROUP % (4u * QUADS) == 0u;

fn scale_at(row: u32, column: u32) -> f32 { return scale_from(scale_word(row, column), column); }

fn weight4(row: u32, k4: u32) -> vec4<f32> {
  return widen(weights[row * ROW_VECTORS + k4 / QUADS], k4 % QUADS) * scale_at(row, k4 * 4u);
}
