@group(0) @binding(1) var<storage, read> x: array<Values>;
@group(0) @binding(2) var<storage, read> gamma: array<Values>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> kept: array<Values>;

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * ROW_VALUES;
  let place = places[group.x].y;
  var own = 0.0;
  for (var k = thread; k < ROW_VALUES; k += RMS_THREADS) {
    own = add_squares(x[start + k], own);
  }
  let scale = inverse_rms(thread, own, WIDTH, EPS);
  if (place < CAPACITY) {
    for (var k = thread; k < ROW_VALUES; k += RMS_THREADS) {
      kept[place * ROW_VALUES + k] = x[start + k] * scale * gamma[k];
    }
  }
}
