fn zero_from(word: vec2<u32>) -> f32 { return bitcast<f32>(word.y); }
