fn store_pair(token: u32, pair: u32, value: vec2<f32>) {
  let at = params.offset + token * KEPT_WIDTH + pair * 2u;
  out[at] = bitcast<u32>(value.x);
  out[at + 1u] = bitcast<u32>(value.y);
}
