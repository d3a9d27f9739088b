@group(0) @binding(1) var<storage, read> cache: array<u32>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> latents: array<f32>;
@group(0) @binding(4) var<storage, read_write> rope_keys: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x * 2u;
  if (column >= CACHE_WIDTH) {
    return;
  }
  let position = params.start + id.y;
  let slot = tables[params.table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS;
  let value = cache_pair(slot, id.x);
  if (column >= ROPE_OFFSET) {
    let at = column - ROPE_OFFSET;
    if (at < ROPE_WIDTH) {
      rope_keys[id.y * ROPE_WIDTH + at] = value.x;
      rope_keys[id.y * ROPE_WIDTH + at + 1u] = value.y;
    }
    return;
  }
  if (column < KEY_WIDTH) {
    latents[id.y * KEY_WIDTH + column] = value.x;
  }
  if (column + 1u < KEY_WIDTH) {
    latents[id.y * KEY_WIDTH + column + 1u] = value.y;
  }
}
