fn weight4(row: u32, k4: u32) -> vec4<f32> {
  let at = row * ROW_WORDS + k4 * 4u;
  return bitcast<vec4<f32>>(vec4(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]));
}
