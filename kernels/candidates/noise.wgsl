// The WGSL twin of gumbel in core/random.ts.
fn gumbel(key: u32, position: u32, token: u32) -> f32 {
  let bits = random_bits(key, position, token);
  let v = min((f32(bits) + 0.5) * 2.3283064365386963e-10, 0.99999994);
  // -log(1 - v) loses all precision near 0, which is where the largest values come from.
  let exponential = select(-log(1.0 - v), v * (1.0 + v * (0.5 + v * (0.33333333 + v * 0.25))), v < 0.01);
  return -log(exponential);
}
