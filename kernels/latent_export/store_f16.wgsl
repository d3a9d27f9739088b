const PAIR_WORDS = 1u;

fn store_pair(at: u32, value: vec2<f32>) {
  out[at] = pack2x16float(value);
}
