// As q4.wgsl; zero points are no integers, and are subtracted by themselves.
fn widen(words: vec4<u32>, quad: u32, zero: f32) -> vec4<f32> {
  let half = words[quad / 2u] >> (16u * (quad % 2u));
  let mantissas = vec4(half) & vec4(0xfu, 0xf0u, 0xf00u, 0xf000u);
  let unit = vec4(8388608.0, 524288.0, 32768.0, 2048.0);
  return fma(bitcast<vec4<f32>>(mantissas | vec4(0x3f800000u)), unit, -unit) - zero;
}
