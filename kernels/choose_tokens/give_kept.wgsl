Of what is chosen, what this rank keeps is given, and how much that is. Blocks hold whole words of 32 positions.
@section(declarations)
@group(0) @binding(5) var<storage, read_write> attended: array<vec4<u32>>; // token, position among those that are given, slot, table

// How many of the first `tokens` tokens of a sequence are kept here.
fn kept_tokens(tokens: u32) -> u32 {
  let rest = tokens % (SHARES * BLOCK_TOKENS);
  return tokens / (SHARES * BLOCK_TOKENS) * BLOCK_TOKENS + clamp(rest, SHARE * BLOCK_TOKENS, (SHARE + 1u) * BLOCK_TOKENS) - SHARE * BLOCK_TOKENS;
}

fn kept_of(first: u32, bits: u32) -> u32 {
  return select(0u, bits, first / BLOCK_TOKENS % SHARES == SHARE);
}

@section(give_all)
      give(row, first, kept_of(first, bits), kept_tokens(first));
      if (first == 0u) {
        attended[row].y = kept_tokens(context) - 1u;
      }
@section(place)
    bits = kept_of(window + thread * 32u, bits);
    workgroupBarrier();
    let place = given + sum_before(thread, countOneBits(bits));
    given += sums[THREADS - 1u];
@section(end)
  if (thread == 0u) {
    attended[row].y = given - 1u;
  }
