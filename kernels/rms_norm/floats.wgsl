alias Values = f32;

fn add_squares(value: Values, sum: f32) -> f32 { return fma(value, value, sum); }
