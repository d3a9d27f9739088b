Inputs by way of workgroup memory, a round ahead in registers: those of experts lie anywhere.
@section(before_rounds)
  @unroll(a, 1) {
    @unroll(l, INPUT_LOADS) {
      let input_row_{l} = ({l}u * THREADS + thread) / CHUNK_OCTETS;
      let chunk_octet_{l} = ({l}u * THREADS + thread) % CHUNK_OCTETS;
      let octet_{l} = chunk_octet_{l} / (ROUND * 2u) * PART_TILES * 2u + chunk_octet_{l} % (ROUND * 2u);
      let input_to_{l} = input_row_{l} * STRIDE + chunk_octet_{l};
      let base_{l} = item_at(matrix, first + min(input_row_{l}, count - 1u)) / ITEMS_PER_INPUT * INPUT_STRIDE;
@fill(held_inputs)
    }
    {
      let next_{a} = 0u;
      @unroll(l, INPUT_LOADS) {
@fill(read_input)
      }
    }
  }
@section(store_inputs)
    let held = k / ROUND % 2u * STEP_VECTORS;
    @unroll(a, 1) {
      let now_{a} = k * 16u;
      let at_{a} = held;
      @unroll(l, INPUT_LOADS) {
        if (input_row_{l} < count) {
@fill(store_input)
        }
      }
    }
@section(read_inputs)
    @unroll(a, 1) {
      // The last round reads its own again.
      let next_{a} = min(k + ROUND, PART_TILES - ROUND) * 16u;
      @unroll(l, INPUT_LOADS) {
@fill(read_input)
      }
    }
@section(load_left)
      @unroll(i, M_STEPS) {
        let left_{s}_{i} = subgroupMatrixLoad<Left, row_major>(&memory, held + {i}u * 16u * STRIDE + (part * ROUND + {s}u) * 2u, STRIDE);
      }
