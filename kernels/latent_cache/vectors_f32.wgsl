// Four values of a slot into one quad of the tile.
fn stage(slot: u32, vector: u32, words: vec4<u32>) {
  tile[slot + vector] = bitcast<vec4<f32>>(words);
}
