fn scale_word(row: u32, column: u32) -> u32 { return scales[row * SCALE_ROW_WORDS + column / GROUP / 2u]; }
fn scale_from(word: u32, column: u32) -> f32 { return bitcast<f32>(select(word << 16u, word & 0xffff0000u, column / GROUP % 2u == 1u)); }
