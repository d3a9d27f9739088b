@group(0) @binding(5) var<storage, read> gates: array<f32>;
@group(0) @binding(6) var<storage, read> expert_out: array<f32>;

// In the order in which moe_combine adds.
fn added(row: u32, k: u32) -> f32 {
  var sum = 0.0;
  @unroll(e, ACTIVE) {
    sum = fma(gates[row * ACTIVE + {e}u], expert_out[(row * ACTIVE + {e}u) * WIDTH + k], sum);
  }
  return select(sum, delta[row * WIDTH + k] + sum, ADD_TO_SHARED);
}
