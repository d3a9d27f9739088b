@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = (params.first_row + group.x) * INPUT_STRIDE;
  var own = 0.0;
  for (var k = thread; k < WIDTH; k += RMS_THREADS) {
    own = fma(x[start + k], x[start + k], own);
  }
  let scale = inverse_rms(thread, own, WIDTH, EPS);
  for (var k = thread; k < WIDTH; k += RMS_THREADS) {
    y[group.x * WIDTH + k] = x[start + k] * scale * gamma[k];
  }
}
