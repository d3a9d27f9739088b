// Byte 0 … 3 of a word, with its sign.
fn byte_value(word: u32, byte: u32) -> f32 { return f32(bitcast<i32>(word << (24u - byte * 8u)) >> 24u); }

fn cache_scale(slot: u32, column: u32) -> f32 { return bitcast<f32>(cache[slot * SLOT_WORDS + SCALE_WORD + scale_group(column)]); }

fn cache_pair(slot: u32, pair: u32) -> vec2<f32> {
  let column = pair * 2u;
  if (column >= ROPE_OFFSET) {
    return unpack2x16float(cache[slot * SLOT_WORDS + ROPE_WORD + (column - ROPE_OFFSET) / 2u]);
  }
  let word = cache[slot * SLOT_WORDS + column / 4u];
  return vec2(byte_value(word, column % 4u) * cache_scale(slot, column), byte_value(word, column % 4u + 1u) * cache_scale(slot, column + 1u));
}
