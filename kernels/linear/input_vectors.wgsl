// Rows begin at multiples of 16 bytes and are whole vectors of four floats.
alias Input = vec4<f32>;

fn stored4(base: u32, k4: u32) -> vec4<f32> {
  if (COLUMNS % (4u * QUADS) != 0u && k4 * 4u >= COLUMNS) {
    return vec4(0.0);
  }
  return x[base / 4u + k4];
}
