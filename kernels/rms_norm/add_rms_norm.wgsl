@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * WIDTH;
  // Each thread later reads what it wrote itself.
  for (var k = thread; k < WIDTH; k += RMS_THREADS) {
    x[start + k] += delta[start + k];
  }
  let scale = inverse_rms(thread, start, WIDTH, EPS);
  for (var k = thread; k < WIDTH; k += RMS_THREADS) {
    y[start + k] = x[start + k] * scale * gamma[k];
  }
}
