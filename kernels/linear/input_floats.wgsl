alias Input = f32;

fn stored4(base: u32, k4: u32) -> vec4<f32> {
  let k = k4 * 4u;
  if (k + 3u < COLUMNS) {
    return vec4(x[base + k], x[base + k + 1u], x[base + k + 2u], x[base + k + 3u]);
  }
  var value = vec4(0.0);
  for (var i = 0u; k + i < COLUMNS; i++) {
    value[i] = x[base + k + i];
  }
  return value;
}
