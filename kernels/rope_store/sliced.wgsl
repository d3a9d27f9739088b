// The TPLA paper's norm: a rank knows only its own columns, so it divides by what their squares suggest for all.
var<workgroup> kept: array<f32, KEY_WIDTH>;

fn transform(thread: u32, block: u32) {
  for (var k = thread; k < KEY_WIDTH; k += RMS_THREADS) {
    var sum = 0.0;
    for (var j = 0u; j < LATENT; j++) {
      sum = fma(basis[k * LATENT + j], latent[j], sum);
    }
    kept[k] = sum;
  }
  workgroupBarrier();
}

fn transformed(column: u32, block: u32) -> f32 {
  var squares = 0.0;
  for (var k = 0u; k < KEY_WIDTH; k++) {
    squares = fma(kept[k], kept[k], squares);
  }
  return kept[column] * inverseSqrt(squares / SLICED_WIDTH + EPS);
}
