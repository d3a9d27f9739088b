@group(0) @binding(1) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> chosen: array<u32>; // [row, STRIDE]
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position among those that are chosen, slot, table
@group(0) @binding(4) var<storage, read_write> out: array<vec4<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.y;
  let token = id.x / SLOT_VECTORS;
  if (token > step[row].y) {
    return;
  }
  let to = row * STRIDE + token;
  out[to * SLOT_VECTORS + id.x % SLOT_VECTORS] = cache[chosen[to] * SLOT_VECTORS + id.x % SLOT_VECTORS];
}
