// Absorbed attention of one row over one split of its sequence, HEADS_AT_ONCE heads sharing every latent that is read.
@group(0) @binding(1) var<storage, read> absorbed: array<f32>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> cache: array<u32>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(6) var<storage, read_write> partial: array<f32>;

const THREADS = 64u;
const LOWEST = -3.0e38;
const HEADS_AT_ONCE = THREADS / TOKENS_AT_ONCE;
const COLUMNS_PER_THREAD = (VALUE_WIDTH + THREADS - 1u) / THREADS;

var<workgroup> tile: array<f32, TOKENS_AT_ONCE * CACHE_WIDTH>;
var<workgroup> weights: array<f32, THREADS>; // [head, token]: scores, then exp(score - largest)
var<workgroup> shrinks: array<f32, HEADS_AT_ONCE>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let split = group.x;
  let first_head = group.y * HEADS_AT_ONCE;
  let row = group.z;
  let context = step[row].y + 1u;
  let table = step[row].w;
  let begin = split * split_tokens(context);
  if (begin >= context) {
    return;
  }
  let end = min(context, begin + split_tokens(context));
  let h = thread / TOKENS_AT_ONCE;
  let t = thread % TOKENS_AT_ONCE;
  let item = row * HEADS + min(first_head + h, HEADS - 1u);

  var largest = LOWEST; // of head `thread`, in the first HEADS_AT_ONCE threads
  var total = 0.0;
  var sums: array<f32, HEADS_AT_ONCE * COLUMNS_PER_THREAD>;
  for (var first = begin; first < end; first += TOKENS_AT_ONCE) {
    for (var at = thread; at < TOKENS_AT_ONCE * (CACHE_WIDTH / 2u); at += THREADS) {
      let position = first + at / (CACHE_WIDTH / 2u);
      var pair = vec2(0.0);
      if (position < end) {
        let slot = tables[table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS;
        pair = cache_pair(slot, at % (CACHE_WIDTH / 2u));
      }
      tile[at * 2u] = pair.x;
      tile[at * 2u + 1u] = pair.y;
    }
    workgroupBarrier();
    var score = 0.0;
    for (var k = 0u; k < KEY_WIDTH; k++) {
      score = fma(absorbed[item * KEY_WIDTH + k], tile[t * CACHE_WIDTH + k], score);
    }
    for (var k = 0u; k < ROPE_WIDTH; k++) {
      score = fma(q[item * QUERY + NOPE + k], tile[t * CACHE_WIDTH + ROPE_OFFSET + k], score);
    }
    weights[thread] = select(LOWEST, score * SCALE, first + t < end);
    workgroupBarrier();
    if (thread < HEADS_AT_ONCE) {
      var next = largest;
      for (var i = 0u; i < TOKENS_AT_ONCE; i++) {
        next = max(next, weights[thread * TOKENS_AT_ONCE + i]);
      }
      let shrink = exp(largest - next);
      total *= shrink;
      for (var i = 0u; i < TOKENS_AT_ONCE; i++) {
        let s = weights[thread * TOKENS_AT_ONCE + i];
        let p = select(0.0, exp(s - next), s > LOWEST);
        weights[thread * TOKENS_AT_ONCE + i] = p;
        total += p;
      }
      shrinks[thread] = shrink;
      largest = next;
    }
    workgroupBarrier();
    for (var c = 0u; c < COLUMNS_PER_THREAD; c++) {
      let column = thread + c * THREADS;
      if (column < VALUE_WIDTH) {
        for (var head = 0u; head < HEADS_AT_ONCE; head++) {
          var sum = sums[head * COLUMNS_PER_THREAD + c] * shrinks[head];
          for (var i = 0u; i < TOKENS_AT_ONCE; i++) {
            sum = fma(weights[head * TOKENS_AT_ONCE + i], tile[i * CACHE_WIDTH + VALUE_OFFSET + column], sum);
          }
          sums[head * COLUMNS_PER_THREAD + c] = sum;
        }
      }
    }
    workgroupBarrier();
  }

  for (var head = 0u; head < HEADS_AT_ONCE; head++) {
    if (first_head + head < HEADS) {
      let to = ((row * HEADS + first_head + head) * MOST_SPLITS + split) * (VALUE_WIDTH + 2u);
      for (var c = 0u; c < COLUMNS_PER_THREAD; c++) {
        if (thread + c * THREADS < VALUE_WIDTH) {
          partial[to + thread + c * THREADS] = sums[head * COLUMNS_PER_THREAD + c];
        }
      }
      if (thread == head) {
        partial[to + VALUE_WIDTH] = largest;
        partial[to + VALUE_WIDTH + 1u] = total;
      }
    }
  }
}
