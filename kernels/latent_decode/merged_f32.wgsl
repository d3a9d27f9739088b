@section(merged)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@section(put)
  y[item * VALUE_WIDTH + column] = sum_0 / total;
