// Queries attend to those of what they see that were chosen for them. Bits of a tile are asked for with the next values, a tile before: at once they would be waited
// for, and with them all that is on its way.
@section(declarations)
// Never written, as keys are not.
@group(0) @binding(7) var<storage, read_write> chosen: array<u32>; // [row, CHOSEN_STRIDE], a bit for each position

const NOTHING = -1.0e38;

// Which of four positions a row attends to, the first of them being the `at`th that `bits` are of.
fn attends_to(bits: u32, at: u32) -> vec4<bool> {
  return ((vec4(bits) >> (vec4(at) + vec4(0u, 1u, 2u, 3u))) & vec4(1u)) == vec4(1u);
}
@section(before)
  var begun = false;
  // Beyond the last key of a split there may be no bits.
  let chosen_row = min(row, params.rows - 1u) * CHOSEN_STRIDE;
  let chosen_end = (split_start + count - 1u) / 32u;
  var chosen_word = chosen[chosen_row + min((split_start + my_first) / 32u, chosen_end)];
  @unroll(s, CHOSEN_REST) {
    var chosen_rest_{s} = chosen[chosen_row + min((split_start + my_first) / 32u + 1u, chosen_end)];
  }
@section(ask)
    let chosen_next = (split_start + first + KEYS + my_first) / 32u;
    chosen_word = chosen[chosen_row + min(chosen_next, chosen_end)];
    @unroll(s, CHOSEN_REST) {
      chosen_rest_{s} = chosen[chosen_row + min(chosen_next + 1u, chosen_end)];
    }
@section(leave_out)
    let chosen_shift = (split_start + first + my_first) % 32u;
    var chosen_bits = chosen_word >> chosen_shift;
    // Where splits begin within a word.
    @unroll(s, CHOSEN_REST) {
      chosen_bits |= select(chosen_rest_{s} << (32u - chosen_shift), 0u, chosen_shift == 0u);
    }
    @unroll(w, PAIRS) {
      @unroll(e, 2) {
        score_{w}_{e} = select(vec4(LOWEST), score_{w}_{e}, attends_to(chosen_bits, {w}u * 8u + {e}u * 4u));
      }
    }
@section(begins)
    // Of the first tiles of a split nothing may be chosen.
    for (var distance = 1u; distance < LANES; distance *= 2u) {
      highest = max(highest, subgroupShuffleXor(highest, distance));
    }
    begins = !begun && highest > NOTHING;
@section(begun)
    begun = begun || begins;
@section(own_reference)
    let own_reference = select(LOWEST, reference, begun);
