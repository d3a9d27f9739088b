@group(0) @binding(1) var<storage, read> gate_up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= WIDTH) {
    return;
  }
  let start = id.y * 2u * WIDTH + id.x;
  let gate = gate_up[start];
  y[id.y * WIDTH + id.x] = gate / (1.0 + exp(-gate)) * gate_up[start + WIDTH];
}
