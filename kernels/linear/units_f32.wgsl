Sums as they are.
@section(outputs)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const PIECE = 1u; // sums of an item that a thread takes at a time

// Which row of the bound ones a tile's is that begins with row `first`.
fn row_of(first: u32, at: u32) -> u32 { return min(first + at, params.part_outputs - 1u); }

// Gives an item one piece of its sums, which lie at `place`, of rows from `first` on.
fn give(item: u32, first: u32, place: u32, piece: u32) {
  let output = first + piece;
  if (output < params.part_outputs) {
    let to = item * OUTPUTS + params.first_output + output;
    let sum = sum_at(place, piece);
    y[to] = select(sum, y[to] + sum, ADDS);
  }
}
