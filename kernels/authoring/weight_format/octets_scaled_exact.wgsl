// Two values, exact in f16, times a scale that f16 has exactly, too, unless it is so small that its weights are subnormal.
fn scaled(values: vec2<f16>, scale: f32) -> u32 { return bitcast<u32>(values * vec2(f16(scale))); }
