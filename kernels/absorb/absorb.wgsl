// y[item] = W[head]ᵀ x[item]: each thread owns four columns and walks down the rows of its head, so that reads are coalesced.
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let k4 = id.x;
  let item = id.y;
  if (k4 * 4u >= COLUMNS) {
    return;
  }
  let first_row = (item % HEADS) * ROWS;
  var sum = vec4(0.0);
  for (var row = 0u; row < ROWS; row++) {
    sum = fma(vec4(x[item * INPUT_STRIDE + row]), weight4(first_row + row, k4), sum);
  }
  for (var c = 0u; c < min(4u, COLUMNS - k4 * 4u); c++) {
    y[item * COLUMNS + k4 * 4u + c] = sum[c];
  }
}
