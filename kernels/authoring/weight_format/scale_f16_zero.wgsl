fn scale_word(row: u32, column: u32) -> u32 { return scales[row * SCALE_ROW_WORDS + column / GROUP]; }
fn scale_from(word: u32, column: u32) -> f32 { return unpack2x16float(word).x; }
