// Small-batch linear layer: 64 threads share OUTPUTS_AT_ONCE weight rows and ITEMS_AT_ONCE items, each thread a stride of the columns.
// The order of additions does not depend on the number of items.
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const THREADS = 64u;
const VALUES = OUTPUTS_AT_ONCE * ITEMS_AT_ONCE;
const SEGMENTS = 8u;

var<workgroup> partial: array<f32, VALUES * THREADS>;
var<workgroup> folded: array<f32, VALUES * SEGMENTS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first_item = group.y * ITEMS_AT_ONCE;
  let first_output = group.x * OUTPUTS_AT_ONCE;
  let matrix = matrix_of(first_item) - params.first_matrix;
  if (matrix >= params.matrices) { // also when the subtraction wrapped around
    return;
  }
  let weight_row = matrix * OUTPUTS + first_output;

  var sums: array<f32, VALUES>;
  for (var k4 = thread; k4 < (COLUMNS + 3u) / 4u; k4 += THREADS) {
    var inputs: array<vec4<f32>, ITEMS_AT_ONCE>;
    for (var i = 0u; i < ITEMS_AT_ONCE; i++) {
      let item = min(first_item + i, params.items - 1u);
      inputs[i] = input4((item / ITEMS_PER_INPUT) * INPUT_STRIDE, k4);
    }
    for (var o = 0u; o < OUTPUTS_AT_ONCE; o++) {
      if (first_output + o < params.part_outputs) {
        let w = weight4(weight_row + o, k4);
        for (var i = 0u; i < ITEMS_AT_ONCE; i++) {
          let v = o * ITEMS_AT_ONCE + i;
          sums[v] = fma(w.x, inputs[i].x, fma(w.y, inputs[i].y, fma(w.z, inputs[i].z, fma(w.w, inputs[i].w, sums[v]))));
        }
      }
    }
  }
  for (var v = 0u; v < VALUES; v++) {
    partial[v * THREADS + thread] = sums[v];
  }
  workgroupBarrier();
  for (var j = thread; j < VALUES * SEGMENTS; j += THREADS) {
    var sum = 0.0;
    for (var i = 0u; i < THREADS / SEGMENTS; i++) {
      sum += partial[j * (THREADS / SEGMENTS) + i];
    }
    folded[j] = sum;
  }
  workgroupBarrier();
  if (thread < VALUES) {
    let output = first_output + thread / ITEMS_AT_ONCE;
    let item = first_item + thread % ITEMS_AT_ONCE;
    if (output < params.part_outputs && item < params.items) {
      var sum = 0.0;
      for (var i = 0u; i < SEGMENTS; i++) {
        sum += folded[thread * SEGMENTS + i];
      }
      y[item * OUTPUTS + params.first_output + output] = sum;
    }
  }
}
