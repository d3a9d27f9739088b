// What a workgroup of THREADS agrees on: its best token, and sums.
const LOWEST = -3.0e38;
const NO_TOKEN = 0xffffffffu;

var<workgroup> best_value: array<f32, THREADS>;
var<workgroup> best_token: array<u32, THREADS>;
var<workgroup> sums: array<vec2<f32>, THREADS>;

// Largest value of all threads, of equal ones that of the lower token; both are then in the first elements.
fn reduce_best(thread: u32, value: f32, token: u32) {
  // All have read the result before.
  workgroupBarrier();
  best_value[thread] = value;
  best_token[thread] = token;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      let other_value = best_value[thread + half];
      let other_token = best_token[thread + half];
      if (other_value > best_value[thread] || (other_value == best_value[thread] && other_token < best_token[thread])) {
        best_value[thread] = other_value;
        best_token[thread] = other_token;
      }
    }
    workgroupBarrier();
  }
}

fn reduce_sums(thread: u32, mine: vec2<f32>) -> vec2<f32> {
  sums[thread] = mine;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
    workgroupBarrier();
  }
  return sums[0];
}
