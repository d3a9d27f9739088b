// A workgroup merges COLUMNS columns of one (row, head), a thread EACH of them. Threads bring the largest scores and the weights of the splits; sums of values are then read many at a
// time, since a loop that reads one waits for each.
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(2) var<storage, read> partial: array<f32>;
@fill(merged)
@fill(shares)
const THREADS = COLUMNS / EACH;

var<workgroup> largests: array<f32, PLACES>;
var<workgroup> totals: array<f32, PLACES>;
var<workgroup> weights: array<f32, PLACES>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = group.x * COLUMNS + thread * EACH;
  let item = group.y;
  let context = step[item / HEADS].y + 1u;
  let splits = split_count(context);
  let start = item * MOST_SPLITS * PARTIAL_WIDTH;
  let last = splits - 1u;
  for (var s = thread; s < PLACES; s += THREADS) {
    let scores = start + min(s, last) * PARTIAL_WIDTH + VALUE_WIDTH;
    largests[s] = partial[scores];
    totals[s] = partial[scores + 1u];
  }
  workgroupBarrier();
@fill(reference)
  // Of splits that are not there: zero.
  for (var s = thread; s < PLACES; s += THREADS) {
    weights[s] = select(0.0, exp(largests[s] - reference), s < splits);
  }
  workgroupBarrier();
  if (column >= VALUE_WIDTH) {
    return;
  }
@fill(total)
  @unroll(c, EACH) {
    var sum_{c} = 0.0;
  }
  for (var s = 0u; s < splits; s += AT_ONCE) {
    @unroll(i, AT_ONCE) {
      @unroll(c, EACH) {
        let value_{i}_{c} = partial[start + min(s + {i}u, last) * PARTIAL_WIDTH + column + {c}u];
      }
    }
    @unroll(i, AT_ONCE) {
      @unroll(c, EACH) {
        sum_{c} = fma(weights[s + {i}u], value_{i}_{c}, sum_{c});
      }
    }
  }
@fill(put)
}
