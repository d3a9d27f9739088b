fn added(row: u32, k: u32) -> f32 { return delta[row * WIDTH + k]; }
