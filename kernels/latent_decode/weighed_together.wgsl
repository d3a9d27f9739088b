Weights of a row's splits are relative to all that the row attends to, on every rank that has a share of it: there is nothing left to divide by.
@section(shares)
@group(0) @binding(4) var<storage, read> own_sums: array<f32>; // [row, head]: log of the sum of exp(score)
@group(0) @binding(5) var<storage, read> other_sums: array<f32>; // [rank, row, head]

fn log_sum(rank: u32, item: u32) -> f32 {
  if (rank == RANK) {
    return own_sums[item];
  }
  return other_sums[(rank - select(0u, 1u, rank > RANK)) * params.rows * HEADS + item];
}

@section(reference)
  var largest_sum = log_sum(FIRST_RANK, item);
  for (var rank = FIRST_RANK + 1u; rank < END_RANK; rank++) {
    largest_sum = max(largest_sum, log_sum(rank, item));
  }
  var sum_of_shares = 0.0;
  for (var rank = FIRST_RANK; rank < END_RANK; rank++) {
    sum_of_shares += exp(log_sum(rank, item) - largest_sum);
  }
  let reference = largest_sum + log(sum_of_shares);
@section(total)
  let total = 1.0;
