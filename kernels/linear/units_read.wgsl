What a later step needs.
@section(read)
        @unroll(l, WEIGHT_LOADS) {
          words_{a}_{l} = weights[row_{l} * ROW_VECTORS + vector_of(next_{a}, vector_{l})];
          scale_{a}_{l} = scale_word(row_{l}, vector_of(next_{a}, vector_{l}) * QUADS * 4u);
        }
        @unroll(l, INPUT_LOADS) {
@fill(read_input)
        }
