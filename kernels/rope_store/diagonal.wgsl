fn normalise_slice(thread: u32) {}
fn transformed(column: u32) -> f32 { return latent[column] * basis[column]; }
