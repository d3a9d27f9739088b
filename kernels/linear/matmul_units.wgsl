// Tiled linear layer on matrix units: TILE_ITEMS × TILE_OUTPUTS results per workgroup. Weights become f16 on their way into workgroup memory, sums are f32.
// What the next step needs is under way in registers, as it lies in memory: whatever is made of a loaded value waits for it.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>; // eight values in f16 each
@fill(outputs)

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const OCTETS = DEPTH / 8u; // of columns
const STRIDE = OCTETS + 1u; // odd, so that the rows of a matrix lie in different banks
const WEIGHT_VECTORS = DEPTH / (4u * QUADS); // of one row
const TILE_OUTPUTS = N_PARTS * N_STEPS * 16u;
const SUBGROUPS = M_PARTS * N_PARTS;
const THREADS = SUBGROUPS * 32u;
const WEIGHTS_AT = TILE_ITEMS * STRIDE;

const PIECES = N_STEPS * 16u / PIECE; // of a subgroup's outputs of one item
const SCRATCH_STRIDE = N_STEPS * 4u + 1u; // odd, too

// Vectors of eight values in f16. Sums leave through it where they cannot go straight: 16 items of them per subgroup.
var<workgroup> memory: array<vec4<u32>, max((TILE_ITEMS + TILE_OUTPUTS) * STRIDE, SUBGROUPS * 16u * SCRATCH_STRIDE)>;

struct Place { row: u32, vector: u32 }

// Where a tile's `at`th vector is, if rows have `per_row` of them. Rows follow each other as 0, 4, 1, 5, 2, 6, 3, 7: then any eight threads that store together
// store to different banks, and still read whole pieces of rows.
fn place(at: u32, per_row: u32) -> Place {
  let row = at / per_row;
  return Place(row / 8u * 8u + row % 2u * 4u + row % 8u / 2u, at % per_row);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let tile = tile_of(group.y);
  let matrix = tile.matrix - params.first_matrix;
  if (tile.count == 0u || matrix >= params.matrices) {
    return;
  }
  let thread = subgroup * 32u + lane;
  let first_output = group.x * TILE_OUTPUTS;
  let my_item = subgroup / N_PARTS * M_STEPS * 16u;
  let my_output = subgroup % N_PARTS * N_STEPS * 16u;

  // What lies beyond the last item or output is computed like it, and not written.
  @unroll(l, INPUT_LOADS) {
    let input_place_{l} = place({l}u * THREADS + thread, OCTETS);
    let input_from_{l} = item_of(tile, min(input_place_{l}.row, tile.count - 1u)) / ITEMS_PER_INPUT * (COLUMNS / 8u) + input_place_{l}.vector;
    let input_to_{l} = input_place_{l}.row * STRIDE + input_place_{l}.vector;
    var input_{l} = x[input_from_{l}];
  }
  @unroll(l, WEIGHT_LOADS) {
    let weight_place_{l} = place({l}u * THREADS + thread, WEIGHT_VECTORS);
    let weight_vector_{l} = weight_place_{l}.vector;
    let row_{l} = matrix * OUTPUTS + min(first_output + weight_place_{l}.row, params.part_outputs - 1u);
    let weight_to_{l} = WEIGHTS_AT + weight_place_{l}.row * STRIDE + weight_vector_{l} * (QUADS / 2u);
    var words_{l} = weights[row_{l} * ROW_VECTORS + weight_vector_{l}];
    var scale_{l} = scale_word(row_{l}, weight_vector_{l} * QUADS * 4u);
  }
  @unroll(i, M_STEPS) {
    @unroll(j, N_STEPS) {
      var sums_{i}_{j}: Sums;
    }
  }
  for (var k = 0u; k < COLUMNS; k += DEPTH) {
    @unroll(l, INPUT_LOADS) {
      memory[input_to_{l}] = input_octet(input_{l});
    }
    @unroll(l, WEIGHT_LOADS) {
      if (WEIGHTS_ARE_HALVES) {
        memory[weight_to_{l}] = words_{l};
      } else {
        let scale = scale_from(scale_{l}, k + weight_vector_{l} * QUADS * 4u);
        let zero = zero_from(scale_{l});
        @unroll(p, QUAD_PAIRS) {
          memory[weight_to_{l} + {p}u] = weight_octet(words_{l}, {p}u, zero, scale);
        }
      }
    }
    workgroupBarrier();
    // The last step reads its own again.
    let next = min(k + DEPTH, COLUMNS - DEPTH);
    @unroll(l, INPUT_LOADS) {
      input_{l} = x[input_from_{l} + next / 8u];
    }
    @unroll(l, WEIGHT_LOADS) {
      words_{l} = weights[row_{l} * ROW_VECTORS + next / (4u * QUADS) + weight_vector_{l}];
      scale_{l} = scale_word(row_{l}, next + weight_vector_{l} * QUADS * 4u);
    }
    for (var d = 0u; d < OCTETS; d += 2u) {
      @unroll(i, M_STEPS) {
        let left_{i} = subgroupMatrixLoad<Left, row_major>(&memory, (my_item + {i}u * 16u) * STRIDE + d, STRIDE);
      }
      @unroll(j, N_STEPS) {
        let right_{j} = subgroupMatrixLoad<Right, col_major>(&memory, WEIGHTS_AT + (my_output + {j}u * 16u) * STRIDE + d, STRIDE);
        @unroll(i, M_STEPS) {
          sums_{i}_{j} = subgroupMatrixMultiplyAccumulate(left_{i}, right_{j}, sums_{i}_{j});
        }
      }
    }
    workgroupBarrier();
  }
@fill(whole_tiles)
  // Sixteen items at a time; each row of a subgroup's results leaves in whole pieces.
  let scratch = subgroup * 16u * SCRATCH_STRIDE;
  @unroll(i, M_STEPS) {
    @unroll(j, N_STEPS) {
      subgroupMatrixStore<row_major>(&memory, scratch + {j}u * 4u, sums_{i}_{j}, SCRATCH_STRIDE);
    }
    workgroupBarrier();
    for (var at = lane; at < 16u * PIECES; at += 32u) {
      let item = my_item + {i}u * 16u + at / PIECES;
      let output = my_output + at % PIECES * PIECE;
      if (item < tile.count && first_output + output < params.part_outputs) {
        put(place_of(item_of(tile, item)) + params.first_output + first_output + output, scratch + at / PIECES * SCRATCH_STRIDE + at % PIECES * (PIECE / 4u));
      }
    }
    workgroupBarrier();
  }
}
