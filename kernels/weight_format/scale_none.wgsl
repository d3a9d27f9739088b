fn scale_at(row: u32, column: u32) -> f32 { return 1.0; }
