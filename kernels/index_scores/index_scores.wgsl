// Scores of TOKENS cached keys at a time with one row's queries. Each thread multiplies four heads' queries with two keys, as often as there are heads for.
@group(0) @binding(2) var<storage, read> weights: array<f32>; // [row, head]
@group(0) @binding(3) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(6) var<storage, read_write> scores: array<f32>; // [row of this run, position]

const QUADS = CACHE_WIDTH / 4u;
const STRIDE = QUADS + 1u; // odd, so that threads read different banks
const PAIRS = TOKENS / 2u;
const BLOCKS = HEAD_QUADS * PAIRS; // of four heads and two keys

var<workgroup> tile: array<vec4<f32>, TOKENS * STRIDE>;
var<workgroup> parts: array<f32, HEAD_QUADS * TOKENS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = params.first_row + group.y;
  let context = step[row].y + 1u;
  let table = step[row].w;
  for (var first = group.x * TOKENS; first < context; first += groups.x * TOKENS) {
    // Beyond the last key it is read again, and its score not written.
    let begin = (tables[table + first / BLOCK_TOKENS] * BLOCK_TOKENS + first % BLOCK_TOKENS) * SLOT_VECTORS;
    let limit = min(TOKENS, context - first) * SLOT_VECTORS - 1u;
    for (var at = thread; at < TOKENS * SLOT_VECTORS; at += THREADS) {
      stage(at / SLOT_VECTORS * STRIDE, at % SLOT_VECTORS, fetch(begin, min(at, limit)));
    }
    workgroupBarrier();
    for (var block = thread; block < BLOCKS; block += THREADS) {
      let head = block / PAIRS * 4u;
      let token = block % PAIRS * 2u;
      @unroll(h, 4) {
        let item_{h} = row * HEADS + min(head + {h}u, HEADS - 1u);
        @unroll(t, 2) {
          var score_{h}_{t} = 0.0;
        }
      }
      for (var quad = 0u; quad < QUADS; quad++) {
        @unroll(t, 2) {
          let key_{t} = tile[(token + {t}u) * STRIDE + quad];
        }
        @unroll(h, 4) {
          let q_{h} = query4(item_{h}, quad);
          @unroll(t, 2) {
            score_{h}_{t} = fma(q_{h}.x, key_{t}.x, fma(q_{h}.y, key_{t}.y, fma(q_{h}.z, key_{t}.z, fma(q_{h}.w, key_{t}.w, score_{h}_{t}))));
          }
        }
      }
      @unroll(t, 2) {
        var sum_{t} = 0.0;
      }
      @unroll(h, 4) {
        let weight_{h} = select(0.0, weights[item_{h}], head + {h}u < HEADS);
        @unroll(t, 2) {
          sum_{t} = fma(weight_{h}, max(score_{h}_{t}, 0.0), sum_{t});
        }
      }
      @unroll(t, 2) {
        parts[block / PAIRS * TOKENS + token + {t}u] = sum_{t};
      }
    }
    workgroupBarrier();
    if (thread < min(TOKENS, context - first)) {
      var sum = 0.0;
      for (var part = 0u; part < HEAD_QUADS; part++) {
        sum += parts[part * TOKENS + thread];
      }
      scores[group.y * POSITIONS + first + thread] = sum;
    }
    workgroupBarrier();
  }
}
