const MOST_F16 = 65504.0;

// Two values as f16; what f16 cannot hold becomes the largest that it can.
fn half_pair(values: vec2<f32>) -> u32 { return pack2x16float(clamp(values, vec2(-MOST_F16), vec2(MOST_F16))); }

// Four.
fn half_quad(values: vec4<f32>) -> vec2<u32> {
  let held = clamp(values, vec4(-MOST_F16), vec4(MOST_F16));
  return vec2(pack2x16float(held.xy), pack2x16float(held.zw));
}

// Eight.
fn halves(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  let most = vec4(MOST_F16);
  let a = clamp(low, -most, most);
  let b = clamp(high, -most, most);
  return vec4(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}
