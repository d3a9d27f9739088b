@group(0) @binding(2) var<storage, read> delta: array<Values>;
@group(0) @binding(5) var<storage, read> gates: array<f32>;
@group(0) @binding(6) var<storage, read> expert_out: array<Values>;

// In the order in which moe_combine adds.
fn added(row: u32, k: u32) -> Values {
  var sum = Values();
  @unroll(e, ACTIVE) {
    sum = fma(Values(gates[row * ACTIVE + {e}u]), expert_out[(row * ACTIVE + {e}u) * ROW_VALUES + k], sum);
  }
  return select(sum, delta[row * ROW_VALUES + k] + sum, ADD_TO_SHARED);
}
