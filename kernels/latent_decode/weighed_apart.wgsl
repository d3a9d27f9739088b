Weights of a row's splits are relative to the largest score of them, and divided by what they come to.
@section(shares)

@section(reference)
  var reference = largests[0];
  for (var s = 1u; s < splits; s++) {
    reference = max(reference, largests[s]);
  }
@section(total)
  var total = 0.0;
  for (var s = 0u; s < splits; s++) {
    total = fma(weights[s], totals[s], total);
  }
