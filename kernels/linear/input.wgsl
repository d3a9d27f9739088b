// Four consecutive floats of an input row, activated; zero past its end.
fn input4(base: u32, k4: u32) -> vec4<f32> {
  let value = stored4(base, k4);
  if (!GATED) {
    return value;
  }
  return activated(value, stored4(base + COLUMNS, k4));
}

// silu(gate) · value
fn activated(gate: vec4<f32>, value: vec4<f32>) -> vec4<f32> { return gate / (1.0 + exp(-gate)) * value; }
