fn weight4(row: u32, k4: u32) -> vec4<f32> {
  let at = row * ROW_WORDS + k4 * 2u;
  return vec4(unpack2x16float(weights[at]), unpack2x16float(weights[at + 1u]));
}
