fn weight4(row: u32, k4: u32) -> vec4<f32> {
  let word = bitcast<i32>(weights[row * ROW_WORDS + k4]);
  let levels = (vec4(word) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u);
  return vec4<f32>(levels) * scale_of(row, k4);
}

fn scale_of(row: u32, k4: u32) -> f32 {
  let group = (k4 * 4u) / GROUP;
  return unpack2x16float(scales[row * SCALE_ROW_WORDS + group / 2u])[group % 2u];
}
