// Values in eight bits, widened to f16.
@group(0) @binding(1) var<storage, read> cache: array<u32>;

fn eight_of(slot: u32, vector: u32) -> vec4<u32> {
  let pair = vector * 4u;
  return vec4(
    pack2x16float(cache_pair(slot, pair)),
    pack2x16float(cache_pair(slot, pair + 1u)),
    pack2x16float(cache_pair(slot, pair + 2u)),
    pack2x16float(cache_pair(slot, pair + 3u)),
  );
}
