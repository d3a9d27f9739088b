// One workgroup per token, each thread a stride of the experts. An expert's place is how many come before it, which every thread counts for its own, so
// that the choice takes one pass and its order is fixed: larger ones first, of equals the lower index.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> routes: array<u32>;
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;

const GROUP_SIZE = EXPERTS / GROUPS;
const LOWEST = -3.0e38;
// Loops over all experts read AT_ONCE values before they use one; those beyond the last are never chosen and weigh nothing.
const PADDED = (EXPERTS + AT_ONCE - 1u) / AT_ONCE * AT_ONCE;

var<workgroup> score: array<f32, PADDED>;
var<workgroup> choice: array<f32, PADDED>;
var<workgroup> group_score: array<f32, GROUPS>;
var<workgroup> gate: array<f32, ACTIVE>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * EXPERTS;
  for (var e = thread; e < PADDED; e += THREADS) {
    score[e] = select(LOWEST, logits[start + min(e, EXPERTS - 1u)], e < EXPERTS);
  }
  workgroupBarrier();
  var largest = LOWEST;
  var total = 1.0;
  if (SOFTMAX) {
    for (var e = 0u; e < PADDED; e += AT_ONCE) {
      @unroll(i, AT_ONCE) {
        let score_{i} = score[e + {i}u];
      }
      @unroll(i, AT_ONCE) {
        largest = max(largest, score_{i});
      }
    }
    for (var e = thread; e < PADDED; e += THREADS) {
      choice[e] = exp(score[e] - largest);
    }
    workgroupBarrier();
    total = 0.0;
    for (var e = 0u; e < PADDED; e += AT_ONCE) {
      @unroll(i, AT_ONCE) {
        let power_{i} = choice[e + {i}u];
      }
      @unroll(i, AT_ONCE) {
        total += power_{i};
      }
    }
    // All have read the powers before any becomes a score.
    workgroupBarrier();
  }
  for (var e = thread; e < PADDED; e += THREADS) {
    let logit = score[e];
    let value = select(1.0 / (1.0 + exp(-logit)), exp(logit - largest) / total, SOFTMAX);
    score[e] = value;
    choice[e] = select(LOWEST, value + bias[min(e, EXPERTS - 1u)], e < EXPERTS);
  }
  workgroupBarrier();
  if (ACTIVE_GROUPS < GROUPS) {
    keep_best_groups(thread);
  }
  for (var e = thread; e < EXPERTS; e += THREADS) {
    let mine = choice[e];
    var place = 0u;
    for (var first = 0u; first < PADDED; first += AT_ONCE) {
      @unroll(i, AT_ONCE) {
        let choice_{i} = choice[first + {i}u];
      }
      @unroll(i, AT_ONCE) {
        place += select(0u, 1u, choice_{i} > mine || (choice_{i} == mine && first + {i}u < e));
      }
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
