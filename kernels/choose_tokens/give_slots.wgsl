@section(give)
// Where those of 32 positions from `first` on are cached that are chosen; `place`: how many are given before them.
fn give(row: u32, first: u32, bits: u32, place: u32) {
  let slot = tables[step[row].w + first / (SHARES * BLOCK_TOKENS)] * BLOCK_TOKENS + first % BLOCK_TOKENS;
  var to = row * STRIDE + place;
  for (var left = bits; left != 0u; left &= left - 1u) {
    chosen[to] = slot + countTrailingZeros(left);
    to++;
  }
}
