When the next steps are read: all when the last is stored, before anyone waits, so that none is waited for alone.
@section(together)
        if ({a}u == AHEAD - 1u) {
          @unroll(a, AHEAD) {
            // The last steps read their own again.
            let next_{a} = select(k + ({a}u + AHEAD) * DEPTH, k + {a}u * DEPTH, k + ({a}u + AHEAD) * DEPTH >= COLUMNS);
@fill(read)
          }
        }
@section(each)
