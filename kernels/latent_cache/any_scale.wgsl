// Sixteen bytes of a slot, and where that begins: groups of a scale end anywhere, so that each value asks for its own.
struct Fetched {
  words: vec4<u32>,
  slot: u32,
}

fn fetch(base: u32, at: u32) -> Fetched { return Fetched(cache[base + at], base + at / SLOT_VECTORS * SLOT_VECTORS); }

fn scale_at(slot: u32, column: u32) -> f32 {
  let group = scale_group(column);
  return bitcast<f32>(cache[slot + SCALE_VECTOR + group / 4u][group % 4u]);
}

fn scales_of(fetched: Fetched, column: u32) -> vec4<f32> {
  return vec4(
    scale_at(fetched.slot, column),
    scale_at(fetched.slot, column + 1u),
    scale_at(fetched.slot, column + 2u),
    scale_at(fetched.slot, column + 3u),
  );
}
