fn scale_word(row: u32, column: u32) -> u32 { return 0u; }
fn scale_from(word: u32, column: u32) -> f32 { return 1.0; }
