fn transform(thread: u32, block: u32) {}

fn transformed(column: u32, block: u32) -> f32 { return latent[column] * basis[column]; }
