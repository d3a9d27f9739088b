@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const THREADS = 64u;
var<workgroup> squares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = (params.first_row + group.x) * INPUT_STRIDE;
  var sum = 0.0;
  for (var k = thread; k < WIDTH; k += THREADS) {
    sum = fma(x[start + k], x[start + k], sum);
  }
  squares[thread] = sum;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      squares[thread] += squares[thread + half];
    }
    workgroupBarrier();
  }
  let scale = 1.0 / sqrt(squares[0] / f32(WIDTH) + EPS);
  for (var k = thread; k < WIDTH; k += THREADS) {
    y[group.x * WIDTH + k] = x[start + k] * scale * gamma[k];
  }
}
