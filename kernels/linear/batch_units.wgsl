// Linear layer for decode on matrix units: a workgroup takes TILE_OUTPUTS outputs of up to TILE_ITEMS items of one matrix. Weights, inputs become f16 on their way into
// workgroup memory; sums are f32. Of a row's columns, K_PARTS subgroups take 16 each in turn, in order, and what each has is added in order, so that a result
// depends on nothing else: not on its place in a tile, nor on how many items there are.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@fill(inputs)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const OUTPUT_TILES = (OUTPUTS + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
const SUBGROUPS = K_PARTS * N_PARTS;
// A step is DEPTH columns: of each item as octets in f16, of each output as so many vectors of weights.
const OCTETS = DEPTH / 8u;
const WEIGHT_VECTORS = DEPTH / (4u * QUADS);
const STEP_WEIGHTS = TILE_OUTPUTS * WEIGHT_VECTORS;
const STRIDE = OCTETS + 1u; // odd, so that the rows of a matrix lie in different banks
const WEIGHTS_AT = TILE_ITEMS * STRIDE;
const STEP_VECTORS = (TILE_ITEMS + TILE_OUTPUTS) * STRIDE;
// Whether the last step has columns beyond the last, and whether steps are read ahead that do not exist.
const RAGGED = COLUMNS % DEPTH != 0u;
const RAGGED_AHEAD = COLUMNS % (AHEAD * DEPTH) != 0u;
const SCRATCH_STRIDE = SUMS_AT_ONCE * 4u + 1u; // odd, too

// Steps, in turn: octets of items, then of outputs. A tile with fewer items than matrix units multiply has whatever comes after them for the others, which no result
// depends on. In the end, 16 items × SUMS_AT_ONCE × 16 sums of each subgroup.
var<workgroup> memory: array<vec4<u32>, MEMORY_VECTORS>;

// A vector of a row that has it, when a step may have more.
fn vector_of(k: u32, vector: u32) -> u32 {
  let at = k / (4u * QUADS) + vector;
  return select(at, min(at, ROW_VECTORS - 1u), RAGGED_AHEAD);
}

fn multiply(thread: u32, subgroup: u32, matrix: u32, first_output: u32, first: u32, count: u32) {
  let my_columns = subgroup % K_PARTS * 2u;
  let my_outputs = subgroup / K_PARTS * N_STEPS * 16u;
  // What lies beyond the last output is computed like it, and not written; what lies beyond the last item is read like it, and neither stored nor written.
  @unroll(l, INPUT_LOADS) {
    let input_row_{l} = ({l}u * THREADS + thread) / OCTETS;
    let octet_{l} = ({l}u * THREADS + thread) % OCTETS;
    let input_to_{l} = input_row_{l} * STRIDE + octet_{l};
    let base_{l} = item_at(matrix, first + min(input_row_{l}, count - 1u)) / ITEMS_PER_INPUT * INPUT_STRIDE;
  }
  @unroll(l, WEIGHT_LOADS) {
    let weight_at_{l} = min({l}u * THREADS + thread, STEP_WEIGHTS - 1u);
    let vector_{l} = weight_at_{l} % WEIGHT_VECTORS;
    let row_{l} = (matrix - params.first_matrix) * OUTPUTS + min(first_output + weight_at_{l} / WEIGHT_VECTORS, params.part_outputs - 1u);
    let weight_to_{l} = WEIGHTS_AT + weight_at_{l} / WEIGHT_VECTORS * STRIDE + vector_{l} * (QUADS / 2u);
  }
  // What the next steps need is under way in registers, as it lies in memory: whatever is made of a loaded value waits for it.
  @unroll(a, AHEAD) {
    @unroll(l, WEIGHT_LOADS) {
      var words_{a}_{l}: vec4<u32>;
      var scale_{a}_{l}: u32;
    }
    @unroll(l, INPUT_LOADS) {
@fill(held_inputs)
    }
    {
      let next_{a} = {a}u * DEPTH;
@fill(read)
    }
  }
  @unroll(i, M_STEPS) {
    @unroll(r, SUM_ROUNDS) {
      @unroll(j, SUMS_AT_ONCE) {
        var sums_{i}_{r}_{j} = Sums();
      }
    }
  }
  for (var k = 0u; k < COLUMNS; k += AHEAD * DEPTH) {
    @unroll(a, AHEAD) {
      if (!RAGGED_AHEAD || k + {a}u * DEPTH < COLUMNS) {
        let now_{a} = k + {a}u * DEPTH;
        let at_{a} = {a}u % BUFFERS * STEP_VECTORS;
        @unroll(l, INPUT_LOADS) {
          if (input_row_{l} < count) {
@fill(store_input)
          }
        }
        @unroll(l, WEIGHT_LOADS) {
          if (STEP_WEIGHTS % THREADS == 0u || {l}u * THREADS + thread < STEP_WEIGHTS) {
            let from_{a}_{l} = now_{a} / (4u * QUADS) + vector_{l};
            let held_{a}_{l} = select(words_{a}_{l}, vec4(0u), RAGGED && from_{a}_{l} >= ROW_VECTORS);
            if (WEIGHTS_ARE_HALVES) {
              memory[at_{a} + weight_to_{l}] = held_{a}_{l};
            } else {
              let by_{a}_{l} = scale_from(scale_{a}_{l}, vector_of(now_{a}, vector_{l}) * QUADS * 4u);
              @unroll(p, QUAD_PAIRS) {
                memory[at_{a} + weight_to_{l} + {p}u] = halves(widen(held_{a}_{l}, 2u * {p}u) * by_{a}_{l}, widen(held_{a}_{l}, 2u * {p}u + 1u) * by_{a}_{l});
              }
            }
          }
        }
@fill(read_together)
        workgroupBarrier();
@fill(read_each)
        @unroll(s, K_STEPS) {
          let octets_{a}_{s} = at_{a} + my_columns + {s}u * K_PARTS * 2u;
          @unroll(i, M_STEPS) {
            let left_{a}_{s}_{i} = subgroupMatrixLoad<Left, row_major>(&memory, octets_{a}_{s} + {i}u * 16u * STRIDE, STRIDE);
          }
          @unroll(r, SUM_ROUNDS) {
            @unroll(j, SUMS_AT_ONCE) {
              let rows_{a}_{s}_{r}_{j} = (my_outputs + ({r}u * SUMS_AT_ONCE + {j}u) * 16u) * STRIDE;
              let right_{a}_{s}_{r}_{j} = subgroupMatrixLoad<Right, col_major>(&memory, octets_{a}_{s} + WEIGHTS_AT + rows_{a}_{s}_{r}_{j}, STRIDE);
              @unroll(i, M_STEPS) {
                sums_{i}_{r}_{j} = subgroupMatrixMultiplyAccumulate(left_{a}_{s}_{i}, right_{a}_{s}_{r}_{j}, sums_{i}_{r}_{j});
              }
            }
          }
        }
        if (BUFFERS == 1u) {
          workgroupBarrier();
        }
      }
    }
  }
  if (BUFFERS > 1u) {
    workgroupBarrier();
  }
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
