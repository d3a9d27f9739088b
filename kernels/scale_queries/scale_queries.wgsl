@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(3) var<storage, read_write> q: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < WIDTH) {
    q[id.y * WIDTH + id.x] *= factors[step[id.y].y];
  }
}
