// A thread for each head weighs its scores one after the other.
const HEAD_THREADS = 1u;

var<workgroup> scores: array<f32, SCORES>; // [head, token]

fn weigh(thread: u32, first: u32, end: u32) {
  for (var at = thread; at < SCORES; at += THREADS) {
    scores[at] = score_of(at, first, end);
  }
  workgroupBarrier();
  if (thread < HEADS_AT_ONCE) {
    var highest = LOWEST;
    @unroll(t, TOKENS) {
      let score_{t} = scores[thread * TOKENS + {t}u];
      highest = max(highest, score_{t});
    }
    shrinks[thread] = follow(highest);
    @unroll(t, TOKENS) {
      let weight_{t} = exp(score_{t} - reference);
      weights[{t}u * HEADS_AT_ONCE + thread] = weight_{t};
      total += weight_{t};
    }
  }
}

fn whole_total() -> f32 { return total; }
