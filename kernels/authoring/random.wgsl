// The WGSL twin of core/random.ts.
fn mix32(value: u32) -> u32 {
  var h = value;
  h ^= h >> 16u;
  h *= 0x85ebca6bu;
  h ^= h >> 13u;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16u);
}

fn random_bits(key: u32, position: u32, token: u32) -> u32 {
  return mix32(mix32(mix32(key ^ 0x2545f491u) + position) + token);
}
