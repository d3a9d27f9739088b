@group(0) @binding(3) var<storage, read_write> y: array<Values>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < PART_VALUES) {
    let at = id.y * PART_VALUES + id.x;
    y[at] = summed(at);
  }
}
