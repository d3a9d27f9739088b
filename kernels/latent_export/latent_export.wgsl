@group(0) @binding(1) var<storage, read> cache: array<u32>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

fn whole_value(slot: u32, column: u32) -> f32 {
  let pair = cache_pair(slot, column / 2u);
  return select(pair.x, pair.y, column % 2u == 1u);
}

fn kept_value(slot: u32, column: u32) -> f32 {
  if (column >= KEPT_ROPE) {
    return whole_value(slot, ROPE_OFFSET + column - KEPT_ROPE);
  }
  if (column >= KEPT_KEYS) {
    return 0.0;
  }
  if (column < FIRST_COUNT) {
    return whole_value(slot, FIRST_BEGIN + column);
  }
  return whole_value(slot, SECOND_BEGIN + column - FIRST_COUNT);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x * 2u;
  if (column >= KEPT_WIDTH) {
    return;
  }
  let position = params.start + id.y;
  let slot = tables[params.table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS;
  store_pair(id.y, id.x, vec2(kept_value(slot, column), kept_value(slot, column + 1u)));
}
