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
