@group(0) @binding(1) var<storage, read> adjustments: array<vec4<u32>>; // row, token, bits of the repetition penalty, bits of the addend
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.count) {
    return;
  }
  let adjustment = adjustments[id.x];
  let token = adjustment.y - params.first_token;
  if (token >= VOCABULARY) { // in another shard
    return;
  }
  let at = adjustment.x * VOCABULARY + token;
  let repetition = bitcast<f32>(adjustment.z);
  let logit = logits[at];
  logits[at] = select(logit * repetition, logit / repetition, logit > 0.0) + bitcast<f32>(adjustment.w);
}
