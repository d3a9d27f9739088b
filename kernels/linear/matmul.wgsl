// Tiled linear layer: TILE_ITEMS × TILE_OUTPUTS results per workgroup, four items and OUTPUT_QUADS times four outputs per thread.
// Columns are added in order, so a result does not depend on the number of items.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<Input>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const THREADS = TILE_ITEMS / 4u * LANES;
const DEPTH = 16u; // columns at a time: as many fours of them as make all threads bring in the most outputs of a tile
const TILE_OUTPUTS = LANES * OUTPUT_QUADS * 4u;
const X_STRIDE = TILE_ITEMS / 4u + 1u; // more than what is used, so that columns lie in different banks
const W_STRIDE = TILE_OUTPUTS / 4u + 1u;
const LAST_QUAD = (COLUMNS + 3u) / 4u - 1u;

var<workgroup> x_tile: array<vec4<f32>, DEPTH * X_STRIDE>; // [column, four items]
var<workgroup> w_tile: array<vec4<f32>, DEPTH * W_STRIDE>; // [column, four outputs]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tile = tile_of(group.y);
  let matrix = tile.matrix - params.first_matrix;
  if (tile.count == 0u || matrix >= params.matrices) {
    return;
  }
  let first_output = group.x * TILE_OUTPUTS;
  let my_items = thread / LANES;
  let lane = thread % LANES;
  // Four columns of four rows are brought in by one thread, which turns them. Rows beyond the last are computed like it, and not written.
  let quad = thread % (DEPTH / 4u);
  let four = thread / (DEPTH / 4u);
  @unroll(i, 4) {
    let input_{i} = item_of(tile, min(four * 4u + {i}u, tile.count - 1u)) / ITEMS_PER_INPUT * INPUT_STRIDE;
    let row_{i} = matrix * OUTPUTS + min(first_output + four * 4u + {i}u, params.part_outputs - 1u);
    @unroll(o, OUTPUT_QUADS) {
      var sums_{i}_{o} = vec4(0.0);
    }
  }
  for (var k4 = 0u; k4 <= LAST_QUAD; k4 += DEPTH / 4u) {
    let column = min(k4 + quad, LAST_QUAD);
    if (four < TILE_ITEMS / 4u) {
      @unroll(i, 4) {
        // Beyond the last column inputs are zero, whatever the weights are.
        let value_{i} = select(vec4(0.0), input4(input_{i}, column), k4 + quad <= LAST_QUAD);
      }
      @unroll(c, 4) {
        x_tile[(quad * 4u + {c}u) * X_STRIDE + four] = vec4(value_0[{c}], value_1[{c}], value_2[{c}], value_3[{c}]);
      }
    }
    if (four < TILE_OUTPUTS / 4u) {
      @unroll(i, 4) {
        let weight_{i} = weight4(row_{i}, column);
      }
      @unroll(c, 4) {
        w_tile[(quad * 4u + {c}u) * W_STRIDE + four] = vec4(weight_0[{c}], weight_1[{c}], weight_2[{c}], weight_3[{c}]);
      }
    }
    workgroupBarrier();
    for (var d = 0u; d < DEPTH; d++) {
      let inputs = x_tile[d * X_STRIDE + my_items];
      @unroll(o, OUTPUT_QUADS) {
        let w_{o} = w_tile[d * W_STRIDE + lane + {o}u * LANES];
        @unroll(i, 4) {
          sums_{i}_{o} = fma(vec4(inputs[{i}]), w_{o}, sums_{i}_{o});
        }
      }
    }
    workgroupBarrier();
  }
  @unroll(i, 4) {
    if (my_items * 4u + {i}u < tile.count) {
      let base = item_of(tile, my_items * 4u + {i}u) * OUTPUTS + params.first_output;
      @unroll(o, OUTPUT_QUADS) {
        @unroll(c, 4) {
          {
            let output = first_output + (lane + {o}u * LANES) * 4u + {c}u;
            if (output < params.part_outputs) {
              y[base + output] = sums_{i}_{o}[{c}];
            }
          }
        }
      }
    }
  }
}
