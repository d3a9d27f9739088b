// queries[item] = W[head]ᵀ x[item]. A workgroup takes BLOCK_VECTORS vectors of the columns; its threads divide them and the rows of the head, so that reads are
// coalesced and many are under way. What the threads of a column have is added in order.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> queries: array<Query>;

const BLOCK_COLUMNS = BLOCK_VECTORS * QUADS * 4u;
const PARTS = THREADS / BLOCK_VECTORS;

var<workgroup> partial: array<vec4<f32>, PARTS * BLOCK_COLUMNS / 4u>; // [part, column]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let item = group.y;
  let first_row = (item % HEADS) * ROWS;
  let part = thread / BLOCK_VECTORS;
  let vector = min(group.x * BLOCK_VECTORS + thread % BLOCK_VECTORS, ROW_VECTORS - 1u);
  @unroll(q, QUADS) {
    var sum_{q} = vec4(0.0);
  }
  for (var r = part; r < ROWS; r += PARTS) {
    let row = first_row + r;
    let words = weights[row * ROW_VECTORS + vector];
    let value = x[item * INPUT_STRIDE + r];
    let factor = value * select(1.0, scale_at(row, vector * QUADS * 4u), ONE_SCALE);
    @unroll(q, QUADS) {
      if (ONE_SCALE) {
        sum_{q} = fma(vec4(factor), widen(words, {q}u), sum_{q});
      } else {
        let column = min((vector * QUADS + {q}u) * 4u, COLUMNS - 1u);
        sum_{q} = fma(vec4(value * scale_at(row, column)), widen(words, {q}u), sum_{q});
      }
    }
  }
  @unroll(q, QUADS) {
    partial[thread * QUADS + {q}u] = sum_{q};
  }
  workgroupBarrier();
  for (var at = thread; at < BLOCK_COLUMNS / 4u; at += THREADS) {
    var sum = partial[at];
    for (var p = 1u; p < PARTS; p++) {
      sum += partial[p * (BLOCK_COLUMNS / 4u) + at];
    }
    let column = group.x * BLOCK_COLUMNS + at * 4u;
    for (var c = 0u; c < min(4u, COLUMNS - min(COLUMNS, column)); c++) {
      queries[item * WIDTH + column + c] = Query(sum[c]);
    }
  }
}
