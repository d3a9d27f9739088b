@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(2) var<storage, read> partial: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  let item = id.y;
  if (column >= VALUE_WIDTH) {
    return;
  }
  let context = step[item / HEADS].y + 1u;
  let splits = (context + split_tokens(context) - 1u) / split_tokens(context);
  let start = item * MOST_SPLITS * (VALUE_WIDTH + 2u);
  var largest = partial[start + VALUE_WIDTH];
  for (var s = 1u; s < splits; s++) {
    largest = max(largest, partial[start + s * (VALUE_WIDTH + 2u) + VALUE_WIDTH]);
  }
  var sum = 0.0;
  var total = 0.0;
  for (var s = 0u; s < splits; s++) {
    let at = start + s * (VALUE_WIDTH + 2u);
    let weight = exp(partial[at + VALUE_WIDTH] - largest);
    sum = fma(weight, partial[at + column], sum);
    total = fma(weight, partial[at + VALUE_WIDTH + 1u], total);
  }
  y[item * VALUE_WIDTH + column] = sum / total;
}
