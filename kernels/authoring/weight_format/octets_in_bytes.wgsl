// Of a word, bytes i and i + 2 are half a word apart.
fn input_octet(inputs: vec4<u32>) -> vec4<u32> {
  let low = (inputs.xz & vec2(0xffffu)) | (inputs.yw << vec2(16u));
  let high = (inputs.xz >> vec2(16u)) | (inputs.yw & vec2(0xffff0000u));
  return vec4(low.x, high.x, low.y, high.y);
}
