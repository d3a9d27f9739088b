// A workgroup takes one (row, head), whose splits its threads bring; the first thread adds them up in their order.
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(2) var<storage, read> partial: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

var<workgroup> largests: array<f32, MOST_SPLITS>;
var<workgroup> totals: array<f32, MOST_SPLITS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let item = group.y * HEADS + group.x;
  let splits = split_count(step[group.y].y + 1u);
  for (var s = thread; s < splits; s += THREADS) {
    let at = (item * MOST_SPLITS + s) * PARTIAL_WIDTH + VALUE_WIDTH;
    largests[s] = partial[at];
    totals[s] = partial[at + 1u];
  }
  workgroupBarrier();
  if (thread > 0u) {
    return;
  }
  var sum = LOWEST;
  if (splits > 0u) {
    var largest = largests[0];
    for (var s = 1u; s < splits; s++) {
      largest = max(largest, largests[s]);
    }
    var total = 0.0;
    for (var s = 0u; s < splits; s++) {
      total = fma(exp(largests[s] - largest), totals[s], total);
    }
    sum = largest + log(total);
  }
  lse[item] = sum;
}
