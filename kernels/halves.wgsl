const MOST_F16 = 65504.0;

// Eight values as f16; what f16 cannot hold becomes the largest that it can.
fn halves(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  let most = vec4(MOST_F16);
  let a = clamp(low, -most, most);
  let b = clamp(high, -most, most);
  return vec4(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}
