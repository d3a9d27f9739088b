@group(0) @binding(1) var<storage, read> cache: array<u32>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= KEPT_UNITS) {
    return;
  }
  let position = token_position(params.start + id.y);
  let slot = tables[params.table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS;
  copy_kept(slot, id.x, params.offset + id.y * KEPT_WORDS);
}
