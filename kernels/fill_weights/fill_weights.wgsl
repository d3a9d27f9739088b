@group(0) @binding(1) var<storage, read_write> words: array<u32>;

// The WGSL twin of core/model/synthetic/weights.ts; nothing beyond the last column.
fn level_at(row: u32, column: u32) -> i32 {
  let bits = random_bits(params.key, row, params.first_column + column);
  return select(0, max(i32(bits >> 24u), 1) - 128, column < params.columns);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first = params.first_word + (group.y * MOST_GROUPS + group.x) * THREADS * WORDS_EACH + thread;
  for (var i = 0u; i < WORDS_EACH; i++) {
    let at = first + i * THREADS;
    if (at < params.end_word) {
      let place = at - params.first_word;
      let row = place / params.row_words;
      words[at] = word_of(params.first_row + row, (place - row * params.row_words) * IN_WORD);
    }
  }
}
