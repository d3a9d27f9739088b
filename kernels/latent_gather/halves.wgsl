// Slots as f16, eight values at a time: `eight_of` says how they are had of a slot.
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> latents: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> rope_keys: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let vector = id.x;
  if (vector >= KEY_VECTORS + ROPE_VECTORS) {
    return;
  }
  let position = params.start + id.y;
  let slot = tables[params.table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS;
  let eight = eight_of(slot, vector);
  if (vector < KEY_VECTORS) {
    latents[id.y * KEY_VECTORS + vector] = eight;
  } else {
    rope_keys[id.y * ROPE_VECTORS + vector - KEY_VECTORS] = eight;
  }
}
