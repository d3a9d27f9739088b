@group(0) @binding(1) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> chosen: array<u32>; // [row, STRIDE]
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position among those that are chosen, slot, table
@group(0) @binding(4) var<storage, read_write> out: array<vec4<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.y;
  let tokens = step[row].y + 1u;
  if (tokens == 0u) {
    return;
  }
  let first = group.x * THREADS * EACH + thread;
  // Tokens lie anywhere: several are asked for at a time. Beyond the last one it is read again, and not written.
  @unroll(i, EACH) {
    let at_{i} = min(first + {i}u * THREADS, tokens * SLOT_VECTORS - 1u);
    let slot_{i} = chosen[row * STRIDE + at_{i} / SLOT_VECTORS];
  }
  @unroll(i, EACH) {
    let value_{i} = cache[slot_{i} * SLOT_VECTORS + at_{i} % SLOT_VECTORS];
  }
  @unroll(i, EACH) {
    if (first + {i}u * THREADS < tokens * SLOT_VECTORS) {
      out[row * STRIDE * SLOT_VECTORS + at_{i}] = value_{i};
    }
  }
}
