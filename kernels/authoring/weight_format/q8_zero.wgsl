// As q8.wgsl, less a zero point.
fn widen(words: vec4<u32>, quad: u32, zero: f32) -> vec4<f32> {
  let bytes = words[quad] ^ 0x80808080u;
  let mantissas = vec4(bytes & 0xffu, bytes & 0xff00u, (bytes >> 16u) & 0xffu, (bytes >> 16u) & 0xff00u);
  let unit = vec2(8388608.0, 32768.0);
  return fma(bitcast<vec4<f32>>(mantissas | vec4(0x3f800000u)), unit.xyxy, -unit.xyxy - 128.0) - zero;
}
