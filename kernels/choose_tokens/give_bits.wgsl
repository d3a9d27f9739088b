@section(give)
// Which of 32 positions from `first` on are chosen.
fn give(row: u32, first: u32, bits: u32, place: u32) {
  chosen[row * STRIDE + first / 32u] = bits;
}
