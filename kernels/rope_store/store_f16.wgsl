fn store_pair(slot: u32, pair: u32, value: vec2<f32>) {
  cache[slot * (CACHE_WIDTH / 2u) + pair] = pack2x16float(value);
}
