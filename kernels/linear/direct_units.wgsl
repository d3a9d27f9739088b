// Linear layer for decode on matrix units, of weights that are f16 already: matrices of weights are loaded from where they lie. A workgroup takes TILE_OUTPUTS outputs of
// up to TILE_ITEMS items of one matrix; sums are f32. Of a row's columns, each of K_PARTS subgroups has a stretch, and what they have is added in order.
// Never written. If the driver knew, it would load each matrix where it is multiplied, and wait for it there (bench/NOTES.md).
@group(0) @binding(1) var<storage, read_write> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@fill(inputs)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const OUTPUT_TILES = (OUTPUTS + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
const PART_TILES = COLUMNS / 16u / K_PARTS;
const SCRATCH_STRIDE = SUMS_AT_ONCE * 4u + 1u; // odd, so that the rows of a matrix lie in different banks
// Whole rounds only.
const RAGGED = false;
const RAGGED_AHEAD = false;

var<workgroup> memory: array<vec4<u32>, MEMORY_VECTORS>;

fn multiply(thread: u32, subgroup: u32, matrix: u32, first_output: u32, first: u32, count: u32) {
  let part = subgroup % K_PARTS;
  let my_outputs = subgroup / K_PARTS * N_STEPS * 16u;
  @unroll(r, SUM_ROUNDS) {
    @unroll(j, SUMS_AT_ONCE) {
      // Beyond the last outputs the last are computed again, and not written.
      let output_{r}_{j} = min(first_output + my_outputs + ({r}u * SUMS_AT_ONCE + {j}u) * 16u, params.part_outputs - 16u);
      let weights_{r}_{j} = ((matrix - params.first_matrix) * OUTPUTS + output_{r}_{j}) * ROW_VECTORS + part * PART_TILES * WEIGHT_STEP;
    }
  }
@fill(before_rounds)
  @unroll(i, M_STEPS) {
    @unroll(r, SUM_ROUNDS) {
      @unroll(j, SUMS_AT_ONCE) {
        var sums_{i}_{r}_{j} = Sums();
      }
    }
  }
  for (var k = 0u; k < PART_TILES; k += ROUND) {
@fill(store_inputs)
    @unroll(s, ROUND) {
      @unroll(r, SUM_ROUNDS) {
        @unroll(j, SUMS_AT_ONCE) {
          let right_{s}_{r}_{j} = subgroupMatrixLoad<Right, col_major>(&weights, weights_{r}_{j} + (k + {s}u) * WEIGHT_STEP, WEIGHT_STRIDE);
        }
      }
    }
@fill(read_inputs)
    // All of these are under way: without a barrier each would be loaded where it is multiplied.
    workgroupBarrier();
    @unroll(s, ROUND) {
@fill(load_left)
      @unroll(i, M_STEPS) {
        @unroll(r, SUM_ROUNDS) {
          @unroll(j, SUMS_AT_ONCE) {
            sums_{i}_{r}_{j} = subgroupMatrixMultiplyAccumulate(left_{s}_{i}, right_{s}_{r}_{j}, sums_{i}_{r}_{j});
          }
        }
      }
    }
  }
  workgroupBarrier();
  // What the parts of the columns have is added.
  @unroll(i, M_STEPS) {
    @unroll(r, SUM_ROUNDS) {
      @unroll(j, SUMS_AT_ONCE) {
        subgroupMatrixStore<row_major>(&memory, subgroup * 16u * SCRATCH_STRIDE + {j}u * 4u, sums_{i}_{r}_{j}, SCRATCH_STRIDE);
      }
      workgroupBarrier();
      for (var at = thread; at < N_PARTS * SUMS_AT_ONCE * 256u; at += THREADS) {
        let column = at % (SUMS_AT_ONCE * 16u);
        let item = at / (SUMS_AT_ONCE * 16u) % 16u;
        let part = at / (SUMS_AT_ONCE * 256u);
        var place = (part * K_PARTS * 16u + item) * SCRATCH_STRIDE + column / 4u;
        var sum = bitcast<f32>(memory[place][column % 4u]);
        for (var p = 1u; p < K_PARTS; p++) {
          place += 16u * SCRATCH_STRIDE;
          sum += bitcast<f32>(memory[place][column % 4u]);
        }
        let output = first_output + part * N_STEPS * 16u + {r}u * SUMS_AT_ONCE * 16u + column;
        if ({i}u * 16u + item < count && output < params.part_outputs) {
          let to = item_at(matrix, first + {i}u * 16u + item) * OUTPUTS + params.first_output + output;
          y[to] = select(sum, y[to] + sum, ADDS);
        }
      }
      workgroupBarrier();
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32) {
  let matrix = matrix_of_group(group);
  if (matrix - params.first_matrix >= params.matrices) { // also when the subtraction wrapped around
    return;
  }
  let range = items_of(group, thread, matrix);
  for (var first = range.first; first < range.end; first += TILE_ITEMS) {
    multiply(thread, subgroup, matrix, output_tile_of(group) * TILE_OUTPUTS, first, min(range.end - first, TILE_ITEMS));
  }
}
