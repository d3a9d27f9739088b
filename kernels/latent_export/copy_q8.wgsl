// Column of the whole latent that is column `column` of the rank's.
fn whole_column(column: u32) -> u32 { return select(SECOND_BEGIN + column - FIRST_COUNT, FIRST_BEGIN + column, column < FIRST_COUNT); }

// Copies a word of what the rank keeps of a slot, as it lies; `to` is the first word of its token.
fn copy_kept(slot: u32, word: u32, to: u32) {
  let slot_word = slot * SLOT_WORDS;
  if (word >= KEPT_SCALE_WORD) {
    let scale = word - KEPT_SCALE_WORD;
    out[to + word] = select(0u, cache[slot_word + SCALE_WORD + whole_group(scale)], scale < KEPT_GROUPS);
  } else if (word >= KEPT_ROPE_WORD) {
    out[to + word] = cache[slot_word + ROPE_WORD + word - KEPT_ROPE_WORD];
  } else {
    var bytes = 0u;
    for (var i = 0u; i < 4u; i++) {
      let column = word * 4u + i;
      if (column < KEPT_KEYS) {
        let whole = whole_column(column);
        bytes |= ((cache[slot_word + whole / 4u] >> (whole % 4u * 8u)) & 0xffu) << (i * 8u);
      }
    }
    out[to + word] = bytes;
  }
}
