// Sixteen bytes of a slot, of which all have one scale where they are key columns.
struct Fetched {
  words: vec4<u32>,
  scale: f32,
}

fn fetch(base: u32, at: u32) -> Fetched {
  let slot = base + at / SLOT_VECTORS * SLOT_VECTORS;
  let group = scale_group(at % SLOT_VECTORS * 16u);
  return Fetched(cache[base + at], bitcast<f32>(cache[slot + SCALE_VECTOR + group / 4u][group % 4u]));
}

fn scales_of(fetched: Fetched, column: u32) -> vec4<f32> { return vec4(fetched.scale); }
