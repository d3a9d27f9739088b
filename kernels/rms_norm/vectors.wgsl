// Rows are whole vectors.
alias Values = vec4<f32>;

fn add_squares(values: Values, sum: f32) -> f32 {
  return fma(values.w, values.w, fma(values.z, values.z, fma(values.y, values.y, fma(values.x, values.x, sum))));
}
