fn weight4(row: u32, k4: u32) -> vec4<f32> {
  let half = weights[row * ROW_WORDS + k4 / 2u] >> ((k4 % 2u) * 16u);
  let levels = (vec4(half) >> vec4(0u, 4u, 8u, 12u)) & vec4(15u);
  return (vec4<f32>(levels) - 8.0) * scale_of(row, k4);
}

fn scale_of(row: u32, k4: u32) -> f32 {
  let group = (k4 * 4u) / GROUP;
  return unpack2x16float(scales[row * SCALE_ROW_WORDS + group / 2u])[group % 2u];
}
