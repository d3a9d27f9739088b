Inputs from where they lie, in f16, 16 rows after each other.
@section(inputs)
@group(0) @binding(4) var<storage, read_write> x: array<vec4<u32>>;
@section(before_rounds)
  @unroll(i, M_STEPS) {
    let inputs_{i} = (first + {i}u * 16u) * (COLUMNS / 8u) + part * PART_TILES * INPUT_STEP;
  }
@section(store_inputs)
@section(read_inputs)
    @unroll(s, ROUND) {
      @unroll(i, M_STEPS) {
        let left_{s}_{i} = subgroupMatrixLoad<Left, row_major>(&x, inputs_{i} + (k + {s}u) * INPUT_STEP, INPUT_ROW);
      }
    }
@section(load_left)
    // A product with zeros that are known after the barrier only: nothing is multiplied before it, where what is under way would be waited for one by one.
    if ({s}u == 0u) {
      let zeros_{s} = subgroupMatrixLoad<Left, row_major>(&memory, MEMORY_VECTORS - 32u, 2u);
      @unroll(i, M_STEPS) {
        @unroll(r, SUM_ROUNDS) {
          @unroll(j, SUMS_AT_ONCE) {
            sums_{i}_{r}_{j} = subgroupMatrixMultiplyAccumulate(zeros_{s}, right_{s}_{r}_{j}, sums_{i}_{r}_{j});
          }
        }
      }
    }
