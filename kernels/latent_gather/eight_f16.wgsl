// Values in f16, copied as they lie.
@group(0) @binding(1) var<storage, read> cache: array<vec4<u32>>;

fn eight_of(slot: u32, vector: u32) -> vec4<u32> {
  return cache[slot * (KEY_VECTORS + ROPE_VECTORS) + vector];
}
