fn whole_value(slot: u32, column: u32) -> f32 {
  let pair = cache_pair(slot, column / 2u);
  return select(pair.x, pair.y, column % 2u == 1u);
}

fn kept_value(slot: u32, column: u32) -> f32 {
  if (column >= KEPT_ROPE) {
    return whole_value(slot, ROPE_OFFSET + column - KEPT_ROPE);
  }
  if (column >= KEPT_KEYS) {
    return 0.0;
  }
  if (column < FIRST_COUNT) {
    return whole_value(slot, FIRST_BEGIN + column);
  }
  return whole_value(slot, SECOND_BEGIN + column - FIRST_COUNT);
}

fn kept_pair(slot: u32, pair: u32) -> vec2<f32> {
  return vec2(kept_value(slot, pair * 2u), kept_value(slot, pair * 2u + 1u));
}
