fn store_pair(token: u32, pair: u32, value: vec2<f32>) {
  out[params.offset + token * (KEPT_WIDTH / 2u) + pair] = pack2x16float(value);
}
