@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> expert_out: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= WIDTH) {
    return;
  }
  var sum = 0.0;
  for (var k = 0u; k < ACTIVE; k++) {
    let item = id.y * ACTIVE + k;
    sum = fma(gates[item], expert_out[item * WIDTH + id.x], sum);
  }
  let at = id.y * WIDTH + id.x;
  y[at] = select(sum, y[at] + sum, ADD_TO_SHARED);
}
