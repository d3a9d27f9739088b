// Packed as core WGSL allows everywhere: no shader-f16 needed.
fn cache_pair(slot: u32, pair: u32) -> vec2<f32> {
  return unpack2x16float(cache[slot * (CACHE_WIDTH / 2u) + pair]);
}
