// One workgroup per token: scores in parallel, then the choice by one thread in a fixed order (ties go to the lower index).
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> routes: array<u32>;
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;

const THREADS = 64u;
const GROUP_SIZE = EXPERTS / GROUPS;
const LOWEST = -3.0e38;

var<workgroup> score: array<f32, EXPERTS>;
var<workgroup> choice: array<f32, EXPERTS>;
var<workgroup> group_score: array<f32, GROUPS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * EXPERTS;
  var largest = LOWEST;
  if (SOFTMAX) {
    for (var e = 0u; e < EXPERTS; e++) {
      largest = max(largest, logits[start + e]);
    }
  }
  for (var e = thread; e < EXPERTS; e += THREADS) {
    let logit = logits[start + e];
    score[e] = select(1.0 / (1.0 + exp(-logit)), exp(logit - largest), SOFTMAX);
  }
  workgroupBarrier();
  if (thread != 0u) {
    return;
  }
  if (SOFTMAX) {
    var sum = 0.0;
    for (var e = 0u; e < EXPERTS; e++) {
      sum += score[e];
    }
    for (var e = 0u; e < EXPERTS; e++) {
      score[e] /= sum;
    }
  }
  for (var e = 0u; e < EXPERTS; e++) {
    choice[e] = score[e] + bias[e];
  }
  if (ACTIVE_GROUPS < GROUPS) {
    keep_best_groups();
  }
  var sum = 0.0;
  for (var k = 0u; k < ACTIVE; k++) {
    var best = 0u;
    for (var e = 1u; e < EXPERTS; e++) {
      if (choice[e] > choice[best]) {
        best = e;
      }
    }
    choice[best] = LOWEST;
    routes[group.x * ACTIVE + k] = best;
    gates[group.x * ACTIVE + k] = score[best];
    sum += score[best];
  }
  let scale = ROUTED_SCALE / select(1.0, sum + 1.0e-20, NORMALIZE);
  for (var k = 0u; k < ACTIVE; k++) {
    gates[group.x * ACTIVE + k] *= scale;
  }
}

fn keep_best_groups() {
  for (var g = 0u; g < GROUPS; g++) {
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
  for (var round = 0u; round < GROUPS - ACTIVE_GROUPS; round++) {
    var worst = 0u;
    for (var g = 1u; g < GROUPS; g++) { // of equals the last goes first
      if (group_score[g] <= group_score[worst]) {
        worst = g;
      }
    }
    group_score[worst] = 3.0e38;
    for (var e = worst * GROUP_SIZE; e < (worst + 1u) * GROUP_SIZE; e++) {
      choice[e] = LOWEST;
    }
  }
}
