// One workgroup per row merges the lists of its chunks: each chunk's list is sorted, so only the heads compete in every round.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> sampling: array<vec4<u32>>; // key, position, bits of 1 / temperature, target
@group(0) @binding(3) var<storage, read> chunk_lists: array<u32>;
@group(0) @binding(4) var<storage, read_write> lists: array<u32>;

var<workgroup> heads: array<u32, CHUNKS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.x;
  let start = row * CHUNKS * LIST_WORDS;
  let to = row * LIST_WORDS;
  let draw = sampling[row];
  let inverse_temperature = bitcast<f32>(draw.z);

  var mine = LOWEST;
  var drawn = LOWEST;
  var drawn_token = NO_TOKEN;
  for (var chunk = thread; chunk < CHUNKS; chunk += THREADS) {
    let at = start + chunk * LIST_WORDS;
    let chunk_drawn = bitcast<f32>(chunk_lists[at + 3u]);
    let chunk_token = chunk_lists[at + 2u];
    mine = max(mine, bitcast<f32>(chunk_lists[at]));
    if (chunk_drawn > drawn) {
      drawn = chunk_drawn;
      drawn_token = chunk_token;
    }
    heads[chunk] = 0u;
  }
  reduce_best(thread, drawn, drawn_token);
  if (thread == 0u) {
    lists[to + 2u] = best_token[0];
    lists[to + 3u] = bitcast<u32>(best_value[0]);
    let target_token = draw.w - params.first_token;
    if (target_token < VOCABULARY) {
      lists[to + 4u] = bitcast<u32>(logits[row * VOCABULARY + target_token]);
    }
  }
  reduce_best(thread, mine, thread);
  let largest = best_value[0];
  var powers = vec2(0.0);
  for (var chunk = thread; chunk < CHUNKS; chunk += THREADS) {
    let at = start + chunk * LIST_WORDS;
    let distance = bitcast<f32>(chunk_lists[at]) - largest;
    powers += vec2(bitcast<f32>(chunk_lists[at + 5u]), bitcast<f32>(chunk_lists[at + 6u])) * exp(vec2(distance, distance * inverse_temperature));
  }
  let total = reduce_sums(thread, powers);
  if (thread == 0u) {
    lists[to] = bitcast<u32>(largest + log(total.x));
    lists[to + 1u] = bitcast<u32>(largest * inverse_temperature + log(total.y));
  }

  for (var round = 0u; round < params.count; round++) {
    var value = LOWEST;
    var token = NO_TOKEN;
    for (var chunk = thread; chunk < CHUNKS; chunk += THREADS) {
      if (heads[chunk] < params.count) {
        let at = start + chunk * LIST_WORDS + LIST_HEADER + heads[chunk] * 2u;
        let candidate = bitcast<f32>(chunk_lists[at + 1u]);
        if (candidate > value) {
          value = candidate;
          token = chunk_lists[at];
        }
      }
    }
    reduce_best(thread, value, token);
    let winner = best_token[0];
    if (thread == 0u) {
      lists[to + LIST_HEADER + round * 2u] = winner;
      lists[to + LIST_HEADER + round * 2u + 1u] = bitcast<u32>(best_value[0]);
    }
    // The thread that brought it alone looks at its chunk.
    if (winner == token && token != NO_TOKEN) {
      heads[(token - params.first_token) / CHUNK_TOKENS]++;
    }
  }
}
