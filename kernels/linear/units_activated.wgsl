silu(gate) · value in f16, of a matrix whose first half of rows gives gates and whose second half gives values. Every matrix of sums has eight of both.
@section(outputs)
@group(0) @binding(5) var<storage, read_write> y: array<u32>; // two values each

const PIECE = 4u; // sums of an item that a thread takes at a time: two gates and two values
const PAIRS = OUTPUTS / 2u;

// Which row of the matrix a tile's is whose matrices begin with half as many gates.
fn row_of(first: u32, at: u32) -> u32 { return min((first + at) / 16u * 8u + at % 8u, PAIRS - 1u) + at / 8u % 2u * PAIRS; }

// Gives an item one piece of its sums, which lie at `place`.
fn give(item: u32, first: u32, place: u32, piece: u32) {
  let output = first / 2u + 2u * piece;
  if (output < PAIRS) {
    let column = piece / 4u * 16u + 2u * (piece % 4u);
    let gates = vec2(sum_at(place, column), sum_at(place, column + 1u));
    let values = vec2(sum_at(place, column + 8u), sum_at(place, column + 9u));
    y[(item * PAIRS + output) / 2u] = half_pair(gates / (1.0 + exp(-gates)) * values);
  }
}
