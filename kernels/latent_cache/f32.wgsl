fn cache_pair(slot: u32, pair: u32) -> vec2<f32> {
  let at = slot * CACHE_WIDTH + pair * 2u;
  return bitcast<vec2<f32>>(vec2(cache[at], cache[at + 1u]));
}
