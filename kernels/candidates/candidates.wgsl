// Reduces one chunk of one row's logits: running sums for the two log-sum-exps, the Gumbel-max winner, and the best `count` tokens.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> sampling: array<vec4<u32>>; // key, position, bits of 1 / temperature, target
@group(0) @binding(3) var<storage, read_write> lists: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.y;
  let first = group.x * CHUNK_TOKENS;
  let draw = sampling[row];
  let inverse_temperature = bitcast<f32>(draw.z);
  let to = (row * groups.x + group.x) * LIST_WORDS;

  @unroll(i, PER_THREAD) {
    let token_{i} = first + {i}u * THREADS + thread;
    var value_{i} = select(LOWEST, logits[row * VOCABULARY + min(token_{i}, VOCABULARY - 1u)], token_{i} < VOCABULARY);
  }
  if (params.draw == 1u) {
    var drawn = LOWEST;
    var drawn_token = NO_TOKEN;
    @unroll(i, PER_THREAD) {
      let score_{i} = value_{i} * inverse_temperature + gumbel(draw.x, draw.y, params.first_token + token_{i});
      if (token_{i} < VOCABULARY && score_{i} > drawn) {
        drawn = score_{i};
        drawn_token = params.first_token + token_{i};
      }
    }
    reduce_best(thread, drawn, drawn_token);
    if (thread == 0u) {
      lists[to + 2u] = best_token[0];
      lists[to + 3u] = bitcast<u32>(best_value[0]);
    }
  }

  for (var round = 0u; round < max(params.count, 1u); round++) {
    var value = LOWEST;
    var token = NO_TOKEN;
    @unroll(i, PER_THREAD) {
      if (value_{i} > value) {
        value = value_{i};
        token = token_{i};
      }
    }
    reduce_best(thread, value, token);
    let winner = best_token[0];
    let largest = best_value[0];
    if (thread == 0u) {
      lists[to + LIST_HEADER + round * 2u] = select(params.first_token + winner, NO_TOKEN, winner == NO_TOKEN);
      lists[to + LIST_HEADER + round * 2u + 1u] = bitcast<u32>(largest);
    }
    if (round == 0u) {
      var mine = vec2(0.0);
      @unroll(i, PER_THREAD) {
        let distance_{i} = value_{i} - largest;
        mine += select(vec2(0.0), vec2(exp(distance_{i}), exp(distance_{i} * inverse_temperature)), value_{i} > LOWEST);
      }
      let both = reduce_sums(thread, mine);
      if (thread == 0u) {
        lists[to] = bitcast<u32>(largest);
        lists[to + 5u] = bitcast<u32>(both.x);
        lists[to + 6u] = bitcast<u32>(both.y);
      }
    }
    // Taken: each thread clears its own copy.
    @unroll(i, PER_THREAD) {
      value_{i} = select(value_{i}, LOWEST, token_{i} == winner);
    }
  }
}
