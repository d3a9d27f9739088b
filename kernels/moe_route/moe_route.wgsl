// One workgroup per token, each thread a stride of the experts. An expert's place is how many come before it, which every thread counts for its own, so
// that the choice takes one pass and its order is fixed: larger ones first, of equals the lower index.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> routes: array<u32>;
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;

const GROUP_SIZE = EXPERTS / GROUPS;
const LOWEST = -3.0e38;

var<workgroup> score: array<f32, EXPERTS>;
var<workgroup> choice: array<f32, EXPERTS>;
var<workgroup> group_score: array<f32, GROUPS>;
var<workgroup> gate: array<f32, ACTIVE>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * EXPERTS;
  for (var e = thread; e < EXPERTS; e += THREADS) {
    score[e] = logits[start + e];
  }
  workgroupBarrier();
  var largest = LOWEST;
  var total = 0.0;
  if (SOFTMAX) {
    for (var e = 0u; e < EXPERTS; e++) {
      largest = max(largest, score[e]);
    }
    for (var e = 0u; e < EXPERTS; e++) {
      total += exp(score[e] - largest);
    }
  }
  // All have read the logits before any becomes a score.
  workgroupBarrier();
  for (var e = thread; e < EXPERTS; e += THREADS) {
    let logit = score[e];
    let value = select(1.0 / (1.0 + exp(-logit)), exp(logit - largest) / total, SOFTMAX);
    score[e] = value;
    choice[e] = value + bias[e];
  }
  workgroupBarrier();
  if (ACTIVE_GROUPS < GROUPS) {
    keep_best_groups(thread);
  }
  for (var e = thread; e < EXPERTS; e += THREADS) {
    let mine = choice[e];
    var place = 0u;
    for (var other = 0u; other < EXPERTS; other++) {
      let theirs = choice[other];
      place += select(0u, 1u, theirs > mine || (theirs == mine && other < e));
    }
    if (place < ACTIVE) {
      routes[group.x * ACTIVE + place] = e;
      gate[place] = score[e];
    }
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var k = 0u; k < ACTIVE; k++) {
    sum += gate[k];
  }
  for (var k = thread; k < ACTIVE; k += THREADS) {
    gates[group.x * ACTIVE + k] = gate[k] * (ROUTED_SCALE / select(1.0, sum + 1.0e-20, NORMALIZE));
  }
}

fn keep_best_groups(thread: u32) {
  for (var g = thread; g < GROUPS; g += THREADS) {
    var first = LOWEST;
    var second = LOWEST;
    for (var e = g * GROUP_SIZE; e < (g + 1u) * GROUP_SIZE; e++) {
      if (choice[e] > first) {
        second = first;
        first = choice[e];
      } else {
        second = max(second, choice[e]);
      }
    }
    group_score[g] = select(first, first + second, TOP2);
  }
  workgroupBarrier();
  for (var e = thread; e < EXPERTS; e += THREADS) {
    let mine = e / GROUP_SIZE;
    var place = 0u;
    for (var other = 0u; other < GROUPS; other++) {
      place += select(0u, 1u, group_score[other] > group_score[mine] || (group_score[other] == group_score[mine] && other < mine));
    }
    if (place >= ACTIVE_GROUPS) {
      choice[e] = LOWEST;
    }
  }
  workgroupBarrier();
}
