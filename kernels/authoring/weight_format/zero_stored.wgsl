fn zero_from(word: u32) -> f32 { return f32(word >> 16u); }
