// A workgroup takes BLOCK_COLUMNS rows of the basis; LANES threads share each, so that they read it side by side.
const LANES = RMS_THREADS / BLOCK_COLUMNS;

var<workgroup> products: array<f32, RMS_THREADS>;
var<workgroup> changed: array<f32, BLOCK_COLUMNS>;

fn transform(thread: u32, block: u32) {
  let column = min(block * BLOCK_COLUMNS + thread / LANES, KEY_WIDTH - 1u);
  var own = 0.0;
  for (var j = thread % LANES; j < LATENT; j += LANES) {
    own = fma(basis[column * LATENT + j], latent[j], own);
  }
  products[thread] = own;
  workgroupBarrier();
  if (thread < BLOCK_COLUMNS) {
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) {
      sum += products[thread * LANES + i];
    }
    changed[thread] = sum;
  }
  workgroupBarrier();
}

fn transformed(column: u32) -> f32 { return changed[column % BLOCK_COLUMNS]; }
