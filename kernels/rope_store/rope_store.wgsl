@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> basis: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(4) var<storage, read> table: array<vec2<f32>>; // [positions, PAIRS], (cos, sin)
@group(0) @binding(5) var<storage, read_write> q: array<f32>;
@group(0) @binding(6) var<storage, read_write> queries: array<Query>;
@group(0) @binding(7) var<storage, read_write> cache: array<u32>;

var<workgroup> latent: array<f32, LATENT>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // The first workgroup of a row stores its latent, the others rotate its queries.
  if (group.y > 0u) {
    rotate_query(group.x, (group.y - 1u) * RMS_THREADS + thread);
    return;
  }
  let start = group.x * ROW_STRIDE;
  var own = 0.0;
  for (var k = thread; k < LATENT; k += RMS_THREADS) {
    own = fma(x[start + k], x[start + k], own);
  }
  var scale = inverse_rms(thread, own, LATENT, EPS);
  if (SLICED) {
    scale = 1.0;
  }
  for (var k = thread; k < LATENT; k += RMS_THREADS) {
    latent[k] = x[start + k] * scale;
  }
  workgroupBarrier();
  normalise_slice(thread);
  let slot = step[group.x].z;
  for (var pair = thread; pair < CACHE_WIDTH / 2u; pair += RMS_THREADS) {
    let column = pair * 2u;
    var value = vec2(0.0);
    if (column < ROPE_OFFSET) {
      if (column < KEY_WIDTH) {
        value.x = transformed(column);
      }
      if (column + 1u < KEY_WIDTH) {
        value.y = transformed(column + 1u);
      }
    } else if (column < ROPE_OFFSET + ROPE_WIDTH) {
      let position = step[group.x].y;
      value.x = rotated_key(start + LATENT, position, column - ROPE_OFFSET);
      value.y = rotated_key(start + LATENT, position, column - ROPE_OFFSET + 1u);
    }
    store_pair(slot, pair, value);
  }
}
