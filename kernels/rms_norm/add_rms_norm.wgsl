// Each thread keeps what it adds in registers between the two passes. `added(row, k)` is what joins the stream.
@group(0) @binding(1) var<storage, read_write> x: array<Values>;
@group(0) @binding(3) var<storage, read> gamma: array<Values>;
@group(0) @binding(4) var<storage, read_write> y: array<Values>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * ROW_VALUES;
  @unroll(i, EACH) {
    let k_{i} = min({i}u * RMS_THREADS + thread, ROW_VALUES - 1u);
    let value_{i} = x[start + k_{i}] + added(group.x, k_{i});
    let gain_{i} = gamma[k_{i}];
  }
  var own = 0.0;
  @unroll(i, EACH) {
    if ({i}u * RMS_THREADS + thread < ROW_VALUES) {
      own = add_squares(value_{i}, own);
    }
  }
  let scale = inverse_rms(thread, own, WIDTH, EPS);
  @unroll(i, EACH) {
    if ({i}u * RMS_THREADS + thread < ROW_VALUES) {
      x[start + k_{i}] = value_{i};
      put(start + k_{i}, value_{i} * scale * gain_{i});
    }
  }
}
