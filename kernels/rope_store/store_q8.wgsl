// Blocks have whole groups of a scale, and whole words.
var<workgroup> largest: array<atomic<u32>, SCALE_GROUPS>; // magnitudes, whose bits are in their order; of what is not finite they are the largest

fn store_latent(thread: u32, block: u32, slot: u32) {
  let first = block_first(block);
  let end = block_first(block + 1u);
  for (var column = first + thread; column < min(end, KEY_WIDTH); column += RMS_THREADS) {
    atomicMax(&largest[scale_group(column)], bitcast<u32>(transformed(column, block)) & 0x7fffffffu);
  }
  workgroupBarrier();
  for (var column = first + 4u * thread; column < end; column += 4u * RMS_THREADS) {
    var word = 0u;
    for (var i = 0u; i < 4u; i++) {
      if (column + i < KEY_WIDTH) {
        let most = bitcast<f32>(atomicLoad(&largest[scale_group(column + i)]));
        // Nothing is divided by what is next to zero.
        let inverse = select(127.0 / max(most, SMALLEST), 0.0, most < SMALLEST);
        let level = clamp(round(transformed(column + i, block) * inverse), -127.0, 127.0);
        word |= (bitcast<u32>(i32(level)) & 0xffu) << (i * 8u);
      }
    }
    cache[slot * SLOT_WORDS + column / 4u] = word;
  }
  let begin = slot * SLOT_WORDS + SCALE_WORD;
  let group = scale_group(first) + thread;
  if (group <= scale_group(end - 1u)) {
    let bits = atomicLoad(&largest[group]);
    // What is not finite stays so, whatever the device makes of dividing it.
    let scale = select(bitcast<u32>(bitcast<f32>(bits) / 127.0), NOT_FINITE, bits >= 0x7f800000u);
    cache[begin + group] = select(scale, 0u, bitcast<f32>(bits) < SMALLEST);
  }
  if (block == 0u && thread < SLOT_WORDS - SCALE_WORD - SCALE_GROUPS) {
    cache[begin + SCALE_GROUPS + thread] = 0u;
  }
}

// Two values of the rotated key.
fn store_pair(slot: u32, pair: u32, value: vec2<f32>) {
  cache[slot * SLOT_WORDS + ROPE_WORD + pair - ROPE_OFFSET / 2u] = pack2x16float(value);
}
