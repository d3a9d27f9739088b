// A workgroup takes a block of rows of the basis, STEP_COLUMNS at a time; LANES threads share each, so that they read it side by side.
const LANES = RMS_THREADS / STEP_COLUMNS;

var<workgroup> products: array<f32, RMS_THREADS>;
var<workgroup> changed: array<f32, STEP_COLUMNS * STEPS>;

fn transform(thread: u32, block: u32) {
  @unroll(s, STEPS) {
    let column_{s} = min(block_first(block) + {s}u * STEP_COLUMNS + thread / LANES, KEY_WIDTH - 1u);
    var own_{s} = 0.0;
  }
  for (var j = thread % LANES; j < LATENT; j += LANES) {
    @unroll(s, STEPS) {
      own_{s} = fma(basis[column_{s} * LATENT + j], latent[j], own_{s});
    }
  }
  @unroll(s, STEPS) {
    products[thread] = own_{s};
    workgroupBarrier();
    if (thread < STEP_COLUMNS) {
      var sum = 0.0;
      for (var i = 0u; i < LANES; i++) {
        sum += products[thread * LANES + i];
      }
      changed[{s}u * STEP_COLUMNS + thread] = sum;
    }
    workgroupBarrier();
  }
}

fn transformed(column: u32, block: u32) -> f32 { return changed[column - block_first(block)]; }
