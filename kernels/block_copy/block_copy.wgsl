@group(0) @binding(1) var<storage, read_write> cache: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.tokens * TOKEN_WORDS) {
    return;
  }
  cache[params.copy * BLOCK_TOKENS * TOKEN_WORDS + id.x] = cache[params.source * BLOCK_TOKENS * TOKEN_WORDS + id.x];
}
