// Each thread keeps what it adds in registers between the two passes. `added(row, k)` is what joins the stream.
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * WIDTH;
  @unroll(i, EACH) {
    let k_{i} = min({i}u * RMS_THREADS + thread, WIDTH - 1u);
    let value_{i} = x[start + k_{i}] + added(group.x, k_{i});
    let gain_{i} = gamma[k_{i}];
  }
  var own = 0.0;
  @unroll(i, EACH) {
    if ({i}u * RMS_THREADS + thread < WIDTH) {
      own = fma(value_{i}, value_{i}, own);
    }
  }
  let scale = inverse_rms(thread, own, WIDTH, EPS);
  @unroll(i, EACH) {
    if ({i}u * RMS_THREADS + thread < WIDTH) {
      x[start + k_{i}] = value_{i};
      y[start + k_{i}] = value_{i} * scale * gain_{i};
    }
  }
}
