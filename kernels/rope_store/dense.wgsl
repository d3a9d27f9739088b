fn normalise_slice(thread: u32) {}
fn transformed(column: u32) -> f32 {
  var sum = 0.0;
  for (var j = 0u; j < LATENT; j++) {
    sum = fma(basis[column * LATENT + j], latent[j], sum);
  }
  return sum;
}
