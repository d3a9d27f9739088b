// Reduces one chunk of one row's logits: running sums for the two log-sum-exps, the Gumbel-max winner, and the best `count` tokens.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> sampling: array<vec4<u32>>; // key, position, bits of 1 / temperature, target
@group(0) @binding(3) var<storage, read_write> lists: array<u32>;

const THREADS = 128u;
const PER_THREAD = CHUNK_TOKENS / THREADS;
const LOWEST = -3.0e38;
const NO_TOKEN = 0xffffffffu;

var<workgroup> best_value: array<f32, THREADS>;
var<workgroup> best_token: array<u32, THREADS>;

// Largest (value, token) of all threads into element 0; of equal values the lower token.
fn reduce_best(thread: u32) {
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      let value = best_value[thread + half];
      let token = best_token[thread + half];
      if (value > best_value[thread] || (value == best_value[thread] && token < best_token[thread])) {
        best_value[thread] = value;
        best_token[thread] = token;
      }
    }
    workgroupBarrier();
  }
}

fn reduce_sum(thread: u32, mine: f32) -> f32 {
  workgroupBarrier();
  best_value[thread] = mine;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      best_value[thread] += best_value[thread + half];
    }
    workgroupBarrier();
  }
  let sum = best_value[0];
  workgroupBarrier();
  return sum;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.y;
  let first = group.x * CHUNK_TOKENS;
  let draw = sampling[row];
  let inverse_temperature = bitcast<f32>(draw.z);
  let to = (row * groups.x + group.x) * LIST_WORDS;

  var values: array<f32, PER_THREAD>;
  var drawn = LOWEST;
  var drawn_token = NO_TOKEN;
  for (var i = 0u; i < PER_THREAD; i++) {
    let token = first + i * THREADS + thread;
    values[i] = LOWEST;
    if (token < VOCABULARY) {
      values[i] = logits[row * VOCABULARY + token];
      if (params.draw == 1u) {
        let score = values[i] * inverse_temperature + gumbel(draw.x, draw.y, params.first_token + token);
        if (score > drawn) {
          drawn = score;
          drawn_token = token;
        }
      }
    }
  }
  best_value[thread] = drawn;
  best_token[thread] = drawn_token;
  reduce_best(thread);
  if (thread == 0u) {
    lists[to + 2u] = params.first_token + best_token[0];
    lists[to + 3u] = bitcast<u32>(best_value[0]);
  }
  workgroupBarrier();

  var largest = LOWEST;
  for (var round = 0u; round < max(params.count, 1u); round++) {
    var value = LOWEST;
    var token = NO_TOKEN;
    for (var i = 0u; i < PER_THREAD; i++) {
      let candidate = first + i * THREADS + thread;
      if (values[i] > value) {
        value = values[i];
        token = candidate;
      }
    }
    best_value[thread] = value;
    best_token[thread] = token;
    reduce_best(thread);
    let winner = best_token[0];
    if (round == 0u) {
      largest = best_value[0];
      var plain = 0.0;
      var tempered = 0.0;
      for (var i = 0u; i < PER_THREAD; i++) {
        if (values[i] > LOWEST) {
          plain += exp(values[i] - largest);
          tempered += exp((values[i] - largest) * inverse_temperature);
        }
      }
      // The reductions use best_value, so the winner is written first.
      if (thread == 0u) {
        lists[to] = bitcast<u32>(largest);
        lists[to + LIST_HEADER] = params.first_token + winner;
        lists[to + LIST_HEADER + 1u] = bitcast<u32>(largest);
      }
      let plain_sum = reduce_sum(thread, plain);
      let tempered_sum = reduce_sum(thread, tempered);
      if (thread == 0u) {
        lists[to + 5u] = bitcast<u32>(plain_sum);
        lists[to + 6u] = bitcast<u32>(tempered_sum);
      }
    } else if (thread == 0u) {
      lists[to + LIST_HEADER + round * 2u] = select(params.first_token + winner, NO_TOKEN, winner == NO_TOKEN);
      lists[to + LIST_HEADER + round * 2u + 1u] = bitcast<u32>(best_value[0]);
    }
    workgroupBarrier();
    // Taken: each thread clears its own copy.
    for (var i = 0u; i < PER_THREAD; i++) {
      if (first + i * THREADS + thread == winner) {
        values[i] = LOWEST;
      }
    }
  }
}
