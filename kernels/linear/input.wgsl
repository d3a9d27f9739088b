// Four consecutive floats of an input row; zero past its end.
fn input4(base: u32, k4: u32) -> vec4<f32> {
  let value = stored4(base, k4);
  if (!GATED) {
    return value;
  }
  return value / (1.0 + exp(-value)) * stored4(base + COLUMNS, k4);
}
