What AHEAD steps from column `start` on need; those that do not exist are the last again.
@section(read)
          let next_{a} = min(start + {a}u * DEPTH, LAST_STEP);
          @unroll(l, WEIGHT_LOADS) {
            words_{a}_{l} = weights[row_{l} * ROW_VECTORS + vector_of(next_{a}, vector_{l})];
            scale_{a}_{l} = scale_word(row_{l}, vector_of(next_{a}, vector_{l}) * QUADS * 4u);
          }
          @unroll(l, INPUT_LOADS) {
            input_{a}_{l} = x[base_{l} + octet_of(next_{a}, octet_{l})];
          }
