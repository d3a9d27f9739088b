// Queries attend to those of what they see that were chosen for them.
@section(declarations)
@group(0) @binding(7) var<storage, read> chosen: array<u32>; // [row, CHOSEN_STRIDE], a bit for each position

const NOTHING = -1.0e38;

// Which of four positions from `first` on a row attends to, of those that it sees.
fn attends_to(row: u32, first: u32) -> vec4<bool> {
  let positions = vec4(first) + vec4(0u, 1u, 2u, 3u);
  let words = vec4(row * CHOSEN_STRIDE) + positions / vec4(32u);
  let bits = vec4(chosen[words.x], chosen[words.y], chosen[words.z], chosen[words.w]);
  return ((bits >> (positions % vec4(32u))) & vec4(1u)) == vec4(1u);
}
@section(before)
  let chosen_row = min(row, params.rows - 1u);
  var begun = false;
@section(leave_out)
    // Beyond the last key of a split there may be no bits.
    let chosen_from = split_start + first + my_first;
    let chosen_end = split_start + count - 1u;
    @unroll(w, PAIRS) {
      @unroll(e, 2) {
        score_{w}_{e} = select(vec4(LOWEST), score_{w}_{e}, attends_to(chosen_row, min(chosen_from + {w}u * 8u + {e}u * 4u, chosen_end)));
      }
    }
@section(begins)
    // Of the first tiles of a split nothing may be chosen.
    for (var distance = 1u; distance < LANES; distance *= 2u) {
      highest = max(highest, subgroupShuffleXor(highest, distance));
    }
    let begins = !begun && highest > NOTHING;
@section(begun)
    begun = begun || begins;
@section(own_reference)
    let own_reference = select(LOWEST, reference, begun);
