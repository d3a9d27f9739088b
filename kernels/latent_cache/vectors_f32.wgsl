alias Fetched = vec4<u32>;

fn fetch(base: u32, at: u32) -> Fetched { return cache[base + at]; }

// Four values of a slot into one quad of the tile.
fn stage(slot: u32, vector: u32, words: Fetched) {
  tile[slot + vector] = bitcast<vec4<f32>>(words);
}
