// TOKENS threads of one subgroup share a head, each with a score of its own. Threads of a subgroup follow each other in a workgroup of one dimension.
const HEAD_THREADS = TOKENS;

fn weigh(thread: u32, first: u32, end: u32) {
  let score = score_of(min(thread, SCORES - 1u), first, end);
  var highest = score;
  for (var distance = 1u; distance < TOKENS; distance *= 2u) {
    highest = max(highest, subgroupShuffleXor(highest, distance));
  }
  let shrink = follow(highest);
  let weight = exp(score - reference);
  total += weight;
  if (thread < SCORES) {
    weights[thread % TOKENS * HEADS_AT_ONCE + thread / TOKENS] = weight;
    shrinks[thread / TOKENS] = shrink; // all of them the same
  }
}

fn whole_total() -> f32 {
  var whole = total;
  for (var distance = 1u; distance < TOKENS; distance *= 2u) {
    whole += subgroupShuffleXor(whole, distance);
  }
  return whole;
}
