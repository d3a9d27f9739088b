@group(0) @binding(1) var<storage, read> cache: array<u32>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read> kept_tables: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= KEPT_UNITS) {
    return;
  }
  let token = params.start + id.y;
  let slot = tables[params.table + token_position(token) / BLOCK_TOKENS] * BLOCK_TOKENS + token % BLOCK_TOKENS;
  let kept_slot = kept_tables[params.kept_table + token / KEPT_BLOCK_TOKENS] * KEPT_BLOCK_TOKENS + token % KEPT_BLOCK_TOKENS;
  copy_kept(slot, id.x, kept_slot * KEPT_WORDS);
}
