// 1 / sqrt(sum of squares / width + eps), where every thread of a workgroup brings the sum of its own; added in order, in two stages.
var<workgroup> squares: array<f32, RMS_THREADS>;
var<workgroup> folded_squares: array<f32, RMS_PARTS>;

fn inverse_rms(thread: u32, own: f32, width: u32, eps: f32) -> f32 {
  squares[thread] = own;
  workgroupBarrier();
  if (thread < RMS_PARTS) {
    var sum = 0.0;
    for (var i = 0u; i < RMS_THREADS / RMS_PARTS; i++) {
      sum += squares[i * RMS_PARTS + thread];
    }
    folded_squares[thread] = sum;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < RMS_PARTS; i++) {
    sum += folded_squares[i];
  }
  return 1.0 / sqrt(sum / f32(width) + eps);
}
