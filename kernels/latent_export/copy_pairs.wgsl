// Copies two values that the rank keeps of a slot; `to` is the first word of its token.
fn copy_kept(slot: u32, pair: u32, to: u32) { store_pair(to + pair * PAIR_WORDS, kept_pair(slot, pair)); }
