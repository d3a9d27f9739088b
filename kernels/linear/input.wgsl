// Four consecutive floats of an input row, activated; zero past its end.
fn input4(base: u32, k4: u32) -> vec4<f32> {
  return activated4(stored4(base, k4), values4(base, k4));
}

// The values that go with the gates of an input row.
fn values4(base: u32, k4: u32) -> vec4<f32> {
  if (!GATED) {
    return vec4(0.0);
  }
  return stored4(base + COLUMNS, k4);
}

// silu(gate) · value
fn activated4(gate: vec4<f32>, value: vec4<f32>) -> vec4<f32> {
  if (!GATED) {
    return gate;
  }
  return gate / (1.0 + exp(-gate)) * value;
}
