// Linear layer for decode on matrix units: a workgroup takes TILE_OUTPUTS rows of a matrix, and up to TILE_ITEMS of its items. Weights become f16 on their way into
// workgroup memory; sums are f32. Of a row's columns, K_PARTS subgroups take 16 each in turn, in order, and what each has is added in order, so that a result
// depends on nothing else: not on its place in a tile, nor on how many items there are.
// Weights and inputs are never written. If the driver knew, it would load each where it is stored, and wait for it there (bench/NOTES.md).
@group(0) @binding(1) var<storage, read_write> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<u32>>; // eight values in f16 each

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
const LAST_STEP = (COLUMNS - 1u) / DEPTH * DEPTH;
// Whether the last step has columns beyond the last, and the last steps that are on their way together are fewer.
const RAGGED = COLUMNS % DEPTH != 0u;
const RAGGED_AHEAD = COLUMNS % (AHEAD * DEPTH) != 0u;
const SCRATCH_STRIDE = SUMS_AT_ONCE * 4u + 1u; // odd, too

// A step: octets of items, then of outputs. A tile with fewer items than matrix units multiply has whatever comes after them for the others, which no result
// depends on. In the end, 16 items × SUMS_AT_ONCE × 16 sums of each subgroup.
var<workgroup> memory: array<vec4<u32>, MEMORY_VECTORS>;

// Vectors of weights and octets of inputs from column k on, of those that there are.
fn vector_of(k: u32, vector: u32) -> u32 {
  let at = k / (4u * QUADS) + vector;
  return select(at, min(at, ROW_VECTORS - 1u), RAGGED);
}

fn octet_of(k: u32, octet: u32) -> u32 {
  let at = k / 8u + octet;
  return select(at, min(at, COLUMNS / 8u - 1u), RAGGED);
}

// What the parts of the columns have of a sum, added: `column` of the row at `place`.
fn sum_at(place: u32, column: u32) -> f32 {
  var at = place + column / 4u;
  var sum = bitcast<f32>(memory[at][column % 4u]);
  for (var p = 1u; p < K_PARTS; p++) {
    at += 16u * SCRATCH_STRIDE;
    sum += bitcast<f32>(memory[at][column % 4u]);
  }
  return sum;
}

@fill(outputs)

fn multiply(thread: u32, subgroup: u32, matrix: u32, first_output: u32, first: u32, count: u32) {
  let my_columns = subgroup % K_PARTS * 2u;
  let my_outputs = subgroup / K_PARTS * N_STEPS * 16u;
  // What lies beyond the last output is computed like it, and not written; what lies beyond the last item is read like it, and neither stored nor written.
  @unroll(l, INPUT_LOADS) {
    let input_row_{l} = ({l}u * THREADS + thread) / OCTETS;
    let octet_{l} = ({l}u * THREADS + thread) % OCTETS;
    let input_to_{l} = input_row_{l} * STRIDE + octet_{l};
    let base_{l} = item_at(matrix, first + min(input_row_{l}, count - 1u)) / ITEMS_PER_INPUT * (COLUMNS / 8u);
  }
  @unroll(l, WEIGHT_LOADS) {
    let weight_at_{l} = min({l}u * THREADS + thread, STEP_WEIGHTS - 1u);
    let vector_{l} = weight_at_{l} % WEIGHT_VECTORS;
    let row_{l} = (matrix - params.first_matrix) * OUTPUTS + row_of(first_output, weight_at_{l} / WEIGHT_VECTORS);
    let weight_to_{l} = WEIGHTS_AT + weight_at_{l} / WEIGHT_VECTORS * STRIDE + vector_{l} * (QUADS / 2u);
  }
  // What AHEAD steps need is under way together, in registers, as it lies in memory: whatever is made of a loaded value waits for it.
  @unroll(a, AHEAD) {
    @unroll(l, WEIGHT_LOADS) {
      var words_{a}_{l}: vec4<u32>;
      var scale_{a}_{l}: ScaleWord;
    }
    @unroll(l, INPUT_LOADS) {
      var input_{a}_{l}: vec4<u32>;
    }
  }
  {
    let start = 0u;
    @unroll(a, AHEAD) {
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
        @unroll(l, INPUT_LOADS) {
          if (input_row_{l} < count) {
            memory[input_to_{l}] = input_octet(select(input_{a}_{l}, vec4(0u), RAGGED && now_{a} / 8u + octet_{l} >= COLUMNS / 8u));
          }
        }
        @unroll(l, WEIGHT_LOADS) {
          if (STEP_WEIGHTS % THREADS == 0u || {l}u * THREADS + thread < STEP_WEIGHTS) {
            let from_{a}_{l} = now_{a} / (4u * QUADS) + vector_{l};
            let held_{a}_{l} = select(words_{a}_{l}, vec4(0u), RAGGED && from_{a}_{l} >= ROW_VECTORS);
            if (WEIGHTS_ARE_HALVES) {
              memory[weight_to_{l}] = held_{a}_{l};
            } else {
              let by_{a}_{l} = scale_from(scale_{a}_{l}, vector_of(now_{a}, vector_{l}) * QUADS * 4u);
              let zero_{a}_{l} = zero_from(scale_{a}_{l});
              @unroll(p, QUAD_PAIRS) {
                memory[weight_to_{l} + {p}u] = weight_octet(held_{a}_{l}, {p}u, zero_{a}_{l}, by_{a}_{l});
              }
            }
          }
        }
        // The next steps are asked for before anyone waits, all at once, so that none is waited for alone.
        if ({a}u == AHEAD - 1u) {
          let start = k + AHEAD * DEPTH;
          @unroll(a, AHEAD) {
@fill(read)
          }
        }
        workgroupBarrier();
        @unroll(s, K_STEPS) {
          let octets_{a}_{s} = my_columns + {s}u * K_PARTS * 2u;
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
        workgroupBarrier();
      }
    }
  }
  @unroll(i, M_STEPS) {
    @unroll(r, SUM_ROUNDS) {
      @unroll(j, SUMS_AT_ONCE) {
        subgroupMatrixStore<row_major>(&memory, subgroup * 16u * SCRATCH_STRIDE + {j}u * 4u, sums_{i}_{r}_{j}, SCRATCH_STRIDE);
      }
      workgroupBarrier();
      for (var at = thread; at < N_PARTS * SUMS_AT_ONCE * 256u / PIECE; at += THREADS) {
        let piece = at % (SUMS_AT_ONCE * 16u / PIECE);
        let item = at / (SUMS_AT_ONCE * 16u / PIECE) % 16u;
        let part = at / (SUMS_AT_ONCE * 256u / PIECE);
        if ({i}u * 16u + item < count) {
          let first_row = first_output + (part * N_STEPS + {r}u * SUMS_AT_ONCE) * 16u;
          give(item_at(matrix, first + {i}u * 16u + item), first_row, (part * K_PARTS * 16u + item) * SCRATCH_STRIDE, piece);
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
