alias Fetched = vec4<u32>;

fn fetch(base: u32, at: u32) -> Fetched { return cache[base + at]; }

// Eight values of a slot, widened into two quads of the tile.
fn stage(slot: u32, vector: u32, words: Fetched) {
  tile[slot + vector * 2u] = vec4(unpack2x16float(words.x), unpack2x16float(words.y));
  tile[slot + vector * 2u + 1u] = vec4(unpack2x16float(words.z), unpack2x16float(words.w));
}
