const PAIR_WORDS = 2u;

fn store_pair(at: u32, value: vec2<f32>) {
  out[at] = bitcast<u32>(value.x);
  out[at + 1u] = bitcast<u32>(value.y);
}
