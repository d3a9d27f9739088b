fn store_pair(slot: u32, pair: u32, value: vec2<f32>) {
  let at = slot * CACHE_WIDTH + pair * 2u;
  cache[at] = bitcast<u32>(value.x);
  cache[at + 1u] = bitcast<u32>(value.y);
}
