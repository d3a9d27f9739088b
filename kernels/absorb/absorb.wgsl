// queries[item] = W[head]ᵀ x[item]. A workgroup takes BLOCK_VECTORS vectors of the columns for TOKENS_AT_ONCE tokens, which share each read of the weights; its
// threads divide them and the rows of the head, so that reads are coalesced and many are under way. What the threads of a column have is added in order.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> queries: array<Query>;

const BLOCK_COLUMNS = BLOCK_VECTORS * QUADS * 4u;
const PARTS = THREADS / BLOCK_VECTORS;

var<workgroup> partial: array<vec4<f32>, PARTS * BLOCK_COLUMNS / 4u>; // [part, column]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = group.y % HEADS;
  let first_row = head * ROWS;
  let part = thread / BLOCK_VECTORS;
  let vector = min(group.x * BLOCK_VECTORS + thread % BLOCK_VECTORS, ROW_VECTORS - 1u);
  // What lies beyond the last token is computed like it, and not written.
  @unroll(t, TOKENS_AT_ONCE) {
    let item_{t} = (group.y / HEADS * TOKENS_AT_ONCE + {t}u) * HEADS + head;
    let input_{t} = min(item_{t}, params.items - HEADS + head) * INPUT_STRIDE;
    @unroll(q, QUADS) {
      var sum_{t}_{q} = vec4(0.0);
    }
  }
  for (var r = part; r < ROWS; r += PARTS) {
    let row = first_row + r;
    let words = weights[row * ROW_VECTORS + vector];
    @unroll(t, TOKENS_AT_ONCE) {
      let value_{t} = x[input_{t} + r];
    }
    let word = scale_word(row, vector * QUADS * 4u);
    let scale = scale_from(word, vector * QUADS * 4u);
    @unroll(q, QUADS) {
      {
        let column = min((vector * QUADS + {q}u) * 4u, COLUMNS - 1u);
        let own = select(scale_word(row, column), word, ONE_SCALE);
        let weight = widen(words, {q}u, zero_from(own));
        let factor = select(scale_from(own, column), scale, ONE_SCALE);
        @unroll(t, TOKENS_AT_ONCE) {
          sum_{t}_{q} = fma(vec4(value_{t} * factor), weight, sum_{t}_{q});
        }
      }
    }
  }
  @unroll(t, TOKENS_AT_ONCE) {
    @unroll(q, QUADS) {
      partial[thread * QUADS + {q}u] = sum_{t}_{q};
    }
    workgroupBarrier();
    if (item_{t} < params.items) {
      for (var at = thread; at < BLOCK_COLUMNS / 4u; at += THREADS) {
        var sum = partial[at];
        for (var p = 1u; p < PARTS; p++) {
          sum += partial[p * (BLOCK_COLUMNS / 4u) + at];
        }
        let column = group.x * BLOCK_COLUMNS + at * 4u;
        for (var c = 0u; c < min(4u, COLUMNS - min(COLUMNS, column)); c++) {
          queries[item_{t} * WIDTH + column + c] = Query(sum[c]);
        }
      }
    }
    if ({t}u + 1u < TOKENS_AT_ONCE) {
      workgroupBarrier();
    }
  }
}
