fn store_latent(thread: u32, block: u32, slot: u32) {
  let end = min(block_first(block + 1u), ROPE_OFFSET);
  for (var column = block_first(block) + 2u * thread; column < end; column += 2u * RMS_THREADS) {
    var value = vec2(0.0);
    if (column < KEY_WIDTH) {
      value.x = transformed(column, block);
    }
    if (column + 1u < KEY_WIDTH) {
      value.y = transformed(column + 1u, block);
    }
    store_pair(slot, column / 2u, value);
  }
}
