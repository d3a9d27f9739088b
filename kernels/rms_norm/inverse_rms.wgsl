// 1 / sqrt(mean of squares + eps) of `width` floats of `x`, computed by all threads of a workgroup together.
var<workgroup> squares: array<f32, RMS_THREADS>;

fn inverse_rms(thread: u32, start: u32, width: u32, eps: f32) -> f32 {
  var sum = 0.0;
  for (var k = thread; k < width; k += RMS_THREADS) {
    sum = fma(x[start + k], x[start + k], sum);
  }
  squares[thread] = sum;
  workgroupBarrier();
  for (var half = RMS_THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      squares[thread] += squares[thread + half];
    }
    workgroupBarrier();
  }
  return 1.0 / sqrt(squares[0] / f32(width) + eps);
}
