// A workgroup merges one (row, head): the splits of which the row sees something, in their order, into what came before them. Whether they come at once or not makes
// no difference, since each step takes what the step before it left.
@group(0) @binding(1) var<storage, read> split_state: array<vec2<f32>>; // [split, row, head]: reference, sum of weights
@group(0) @binding(2) var<storage, read> split_out: array<f32>; // [split, row, head, column]
@group(0) @binding(3) var<storage, read_write> state: array<vec2<f32>>; // [row, head]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [row, head, column]

const LOWEST = -3.0e38;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.y;
  let item = row * HEADS + group.x;
  let visible = min(params.end, params.first_position + row + 1u);
  let splits = (visible - min(visible, params.start) + SPLIT - 1u) / SPLIT;
  var reference = LOWEST;
  var total = 0.0;
  @unroll(c, STEPS) {
    let column_{c} = {c}u * THREADS + thread;
    // What lies beyond the last column is computed like it, and not written.
    let from_{c} = min(column_{c}, VALUE - 1u);
    var sum_{c} = 0.0;
  }
  if (params.start > 0u) {
    let before = state[item];
    reference = before.x;
    total = before.y;
    @unroll(c, STEPS) {
      sum_{c} = out[item * VALUE + from_{c}];
    }
  }
  // Everybody has read what one of them is going to write.
  storageBarrier();
  for (var split = 0u; split < splits; split++) {
    let at = (split * params.rows + row) * HEADS + group.x;
    let other = split_state[at];
    let next = max(reference, other.x);
    let kept = EXP(reference - next);
    let added = EXP(other.x - next);
    reference = next;
    total = fma(total, kept, other.y * added);
    @unroll(c, STEPS) {
      sum_{c} = fma(sum_{c}, kept, split_out[at * VALUE + from_{c}] * added);
    }
  }
  if (thread == 0u) {
    state[item] = vec2(reference, total);
  }
  let divisor = select(1.0, total, params.last == 1u);
  @unroll(c, STEPS) {
    if (column_{c} < VALUE) {
      out[item * VALUE + column_{c}] = sum_{c} / divisor;
    }
  }
}
