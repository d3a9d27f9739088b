fn input_octet(inputs: vec4<u32>) -> vec4<u32> { return inputs; }

fn weight_octet(words: vec4<u32>, at: u32, zero: f32, scale: f32) -> vec4<u32> {
  let low = widen(words, 2u * at, zero) * scale;
  return halves(low, widen(words, 2u * at + 1u, zero) * scale);
}
