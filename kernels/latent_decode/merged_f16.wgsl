@section(merged)
@group(0) @binding(3) var<storage, read_write> y: array<u32>; // two values in f16 each
@section(put)
  y[(item * VALUE_WIDTH + column) / 2u] = half_pair(vec2(sum_0, sum_1) / total);
