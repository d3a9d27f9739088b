// The input row, activated, to workgroup memory.
fn stage(thread: u32, base: u32, _first: bool) {
  @unroll(i, STAGED_EACH) {
    let value_{i} = input4(base, min({i}u * THREADS + thread, (COLUMNS + 3u) / 4u - 1u));
  }
  @unroll(i, STAGED_EACH) {
    let at_{i} = {i}u * THREADS + thread;
    if (at_{i} < STAGED_QUADS) {
      staged[at_{i} % QUADS * STAGED_STRIDE + at_{i} / QUADS] = select(vec4(0.0), value_{i}, at_{i} < (COLUMNS + 3u) / 4u);
    }
  }
}
