// A bfloat16 is the upper half of a float32.
fn weight4(row: u32, k4: u32) -> vec4<f32> {
  let at = row * ROW_WORDS + k4 * 2u;
  let low = weights[at];
  let high = weights[at + 1u];
  return bitcast<vec4<f32>>(vec4(low << 16u, low & 0xffff0000u, high << 16u, high & 0xffff0000u));
}
