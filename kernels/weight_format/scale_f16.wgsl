fn scale_at(row: u32, column: u32) -> f32 {
  let group = column / GROUP;
  return unpack2x16float(scales[row * SCALE_ROW_WORDS + group / 2u])[group % 2u];
}
