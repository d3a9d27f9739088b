// Queries of one head of ROWS rows, absorbed on matrix units, COLUMNS columns of the latent at a time. A subgroup keeps the queries of ROW_TILES times 16 rows; the
// weights of the next columns are under way meanwhile. The parts that were rotated are copied behind.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // [column, head, NOPE], eight values in f16 each
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>; // [row of the step, head, QUERY]
@group(0) @binding(3) var<storage, read_write> queries: array<vec4<u32>>; // [row of this run, head, WIDTH], eight values in f16 each

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const EIGHTS = NOPE / 8u;
const STRIDE = EIGHTS | 1u; // odd, so that rows lie in different banks
const ROPE_EIGHTS = (QUERY - NOPE) / 8u;
const ROWS = SUBGROUPS * ROW_TILES * 16u;
const THREADS = SUBGROUPS * 32u;
const COLUMNS = COLUMN_STEPS * 16u;
const SUMS_AT = COLUMNS * STRIDE;
const SUM_STRIDE = COLUMNS / 4u + 1u; // odd, too

// Queries, then weights, and sums on their way: 16 rows of them for each subgroup.
var<workgroup> memory: array<vec4<u32>, max(SUBGROUPS * 16u * STRIDE, SUMS_AT + SUBGROUPS * 16u * SUM_STRIDE)>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let head = group.x;
  let first_row = group.y * ROWS;
  let thread = subgroup * 32u + lane;
  // What lies beyond the last row or column is computed like it, and not written.
  @unroll(l, WEIGHT_LOADS) {
    let at_{l} = {l}u * THREADS + thread;
    let from_{l} = head * EIGHTS + at_{l} % EIGHTS;
    var ahead_{l} = weights[min(at_{l} / EIGHTS, KEY_WIDTH - 1u) * HEADS * EIGHTS + from_{l}];
  }
  for (var at = thread; at < ROWS * ROPE_EIGHTS; at += THREADS) {
    let row = first_row + at / ROPE_EIGHTS;
    if (row < params.rows) {
      let begin = (((params.first_row + row) * HEADS + head) * QUERY + NOPE + at % ROPE_EIGHTS * 8u) / 4u;
      queries[((row * HEADS + head) * WIDTH + ROPE_OFFSET) / 8u + at % ROPE_EIGHTS] = halves(x[begin], x[begin + 1u]);
    }
  }
  let my_row = subgroup * ROW_TILES * 16u;
  @unroll(r, ROW_TILES) {
    // A tile of each subgroup's rows at a time.
    for (var at = thread; at < SUBGROUPS * 16u * EIGHTS; at += THREADS) {
      let staged = at / EIGHTS;
      let row = params.first_row + min(first_row + (staged / 16u * ROW_TILES + {r}u) * 16u + staged % 16u, params.rows - 1u);
      let begin = ((row * HEADS + head) * QUERY + at % EIGHTS * 8u) / 4u;
      memory[staged * STRIDE + at % EIGHTS] = halves(x[begin], x[begin + 1u]);
    }
    workgroupBarrier();
    @unroll(k, STEPS) {
      let query_{r}_{k} = subgroupMatrixLoad<Left, row_major>(&memory, subgroup * 16u * STRIDE + {k}u * 2u, STRIDE);
    }
    workgroupBarrier();
  }
  for (var first = 0u; first < KEY_WIDTH; first += COLUMNS) {
    @unroll(l, WEIGHT_LOADS) {
      if (COLUMNS * EIGHTS % THREADS == 0u || at_{l} < COLUMNS * EIGHTS) {
        memory[at_{l} / EIGHTS * STRIDE + at_{l} % EIGHTS] = ahead_{l};
      }
    }
    workgroupBarrier();
    @unroll(l, WEIGHT_LOADS) {
      ahead_{l} = weights[min(first + COLUMNS + at_{l} / EIGHTS, KEY_WIDTH - 1u) * HEADS * EIGHTS + from_{l}];
    }
    @unroll(r, ROW_TILES) {
      @unroll(c, COLUMN_STEPS) {
        var sums_{r}_{c} = Sums();
      }
    }
    @unroll(k, STEPS) {
      @unroll(c, COLUMN_STEPS) {
        {
          let column = subgroupMatrixLoad<Right, col_major>(&memory, {c}u * 16u * STRIDE + {k}u * 2u, STRIDE);
          @unroll(r, ROW_TILES) {
            sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(query_{r}_{k}, column, sums_{r}_{c});
          }
        }
      }
    }
    let scratch = SUMS_AT + subgroup * 16u * SUM_STRIDE;
    @unroll(r, ROW_TILES) {
      @unroll(c, COLUMN_STEPS) {
        subgroupMatrixStore<row_major>(&memory, scratch + {c}u * 4u, sums_{r}_{c}, SUM_STRIDE);
      }
      workgroupBarrier();
      for (var at = lane; at < 16u * COLUMNS / 8u; at += 32u) {
        let row = first_row + my_row + {r}u * 16u + at / (COLUMNS / 8u);
        let column = first + at % (COLUMNS / 8u) * 8u;
        if (row < params.rows && column < KEY_WIDTH) {
          let begin = scratch + at / (COLUMNS / 8u) * SUM_STRIDE + at % (COLUMNS / 8u) * 2u;
          queries[((row * HEADS + head) * WIDTH + column) / 8u] = halves(bitcast<vec4<f32>>(memory[begin]), bitcast<vec4<f32>>(memory[begin + 1u]));
        }
      }
      workgroupBarrier();
    }
  }
}
