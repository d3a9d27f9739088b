// The input row, normalised as rms_norm does it, to workgroup memory; from the first workgroup to `normed`, too.
@group(0) @binding(6) var<storage, read> gamma: array<Values>;
@fill(kept)

fn stage(thread: u32, base: u32, first: bool) {
  @unroll(i, STAGED_EACH) {
    let at_{i} = {i}u * THREADS + thread;
    let value_{i} = input4(base, min(at_{i}, ROW_VALUES - 1u));
    let gain_{i} = gamma[min(at_{i}, ROW_VALUES - 1u)];
  }
  var own = 0.0;
  @unroll(i, STAGED_EACH) {
    if (at_{i} < ROW_VALUES) {
      own = add_squares(value_{i}, own);
    }
  }
  let scale = inverse_rms(thread, own, WIDTH, EPS);
  @unroll(i, STAGED_EACH) {
    let normed_{i} = value_{i} * scale * gain_{i};
    if (KEEPS && first && at_{i} < ROW_VALUES) {
      keep(at_{i}, normed_{i});
    }
    if (at_{i} < STAGED_QUADS) {
      staged[at_{i} % QUADS * STAGED_STRIDE + at_{i} / QUADS] = select(vec4(0.0), normed_{i}, at_{i} < ROW_VALUES);
    }
  }
}
