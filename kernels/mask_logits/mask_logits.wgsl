@group(0) @binding(1) var<storage, read> masks: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= VOCABULARY) {
    return;
  }
  let token = params.first_token + id.x;
  if (((masks[id.y * MASK_WORDS + token / 32u] >> (token % 32u)) & 1u) == 0u) {
    logits[id.y * VOCABULARY + id.x] = FORBIDDEN;
  }
}
