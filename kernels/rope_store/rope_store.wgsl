@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> basis: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(4) var<storage, read> table: array<vec2<f32>>; // [positions and those of short sequences, PAIRS], (cos, sin)
@group(0) @binding(5) var<storage, read_write> q: array<f32>;
@group(0) @binding(6) var<storage, read_write> queries: array<Query>;
@group(0) @binding(7) var<storage, read_write> cache: array<u32>;

var<workgroup> latent: array<f32, LATENT>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // The first workgroups of a row store its latent, the others rotate its queries.
  let block = group.y;
  if (block >= LATENT_BLOCKS) {
    rotate_query(group.x, (block - LATENT_BLOCKS) * RMS_THREADS + thread);
    return;
  }
  let slot = step[group.x].z & 0x7fffffffu;
  if (slot == NO_SLOT) {
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
  transform(thread, block);
  store_latent(thread, block, slot);
  if (block > 0u) {
    return;
  }
  let turns = turns_of(group.x);
  for (var column = ROPE_OFFSET + 2u * thread; column < CACHE_WIDTH; column += 2u * RMS_THREADS) {
    var value = vec2(0.0);
    if (column < ROPE_OFFSET + ROPE_WIDTH) {
      value.x = rotated_key(start + LATENT, turns, column - ROPE_OFFSET);
      value.y = rotated_key(start + LATENT, turns, column - ROPE_OFFSET + 1u);
    }
    store_pair(slot, column / 2u, value);
  }
}
