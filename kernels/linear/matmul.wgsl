// Tiled linear layer: TILE_ITEMS × TILE_OUTPUTS results per workgroup of 128 threads, each thread 4 × 4 of them.
// Columns are added in order, so a result does not depend on the number of items.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<Input>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const THREADS = 128u;
const DEPTH = 16u;

var<workgroup> x_tile: array<f32, DEPTH * TILE_ITEMS>;
var<workgroup> w_tile: array<f32, DEPTH * TILE_OUTPUTS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tile = tile_of(group.y);
  let matrix = tile.matrix - params.first_matrix;
  if (tile.count == 0u || matrix >= params.matrices) {
    return;
  }
  let first_output = group.x * TILE_OUTPUTS;
  let my_output = (thread % 16u) * 4u;
  let my_item = (thread / 16u) * 4u;

  var sums: array<vec4<f32>, 4>;
  for (var k = 0u; k < COLUMNS; k += DEPTH) {
    {
      let i = thread / 4u;
      let k4 = k / 4u + thread % 4u;
      var value = vec4(0.0);
      if (i < tile.count && k4 * 4u < COLUMNS) {
        value = input4((item_of(tile, i) / ITEMS_PER_INPUT) * INPUT_STRIDE, k4);
      }
      for (var c = 0u; c < 4u; c++) {
        x_tile[((thread % 4u) * 4u + c) * TILE_ITEMS + i] = value[c];
      }
    }
    for (var j = thread; j < TILE_OUTPUTS * 4u; j += THREADS) {
      let o = j / 4u;
      let k4 = k / 4u + j % 4u;
      var value = vec4(0.0);
      if (first_output + o < params.part_outputs && k4 * 4u < COLUMNS) {
        value = weight4(matrix * OUTPUTS + first_output + o, k4);
      }
      for (var c = 0u; c < 4u; c++) {
        w_tile[((j % 4u) * 4u + c) * TILE_OUTPUTS + o] = value[c];
      }
    }
    workgroupBarrier();
    for (var d = 0u; d < DEPTH; d++) {
      let at = d * TILE_OUTPUTS + my_output;
      let w = vec4(w_tile[at], w_tile[at + 1u], w_tile[at + 2u], w_tile[at + 3u]);
      for (var i = 0u; i < 4u; i++) {
        sums[i] = fma(vec4(x_tile[d * TILE_ITEMS + my_item + i]), w, sums[i]);
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    if (my_item + i < tile.count) {
      let base = item_of(tile, my_item + i) * OUTPUTS + params.first_output;
      for (var c = 0u; c < 4u; c++) {
        let output = first_output + my_output + c;
        if (output < params.part_outputs) {
          y[base + output] = sums[i][c];
        }
      }
    }
  }
}
