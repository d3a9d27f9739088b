// One workgroup per row merges the lists of its chunks: each chunk's list is sorted, so only the heads compete in every round.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> sampling: array<vec4<u32>>; // key, position, bits of 1 / temperature, target
@group(0) @binding(3) var<storage, read> chunk_lists: array<u32>;
@group(0) @binding(4) var<storage, read_write> lists: array<u32>;

const THREADS = 128u;
const LOWEST = -3.0e38;
const NO_TOKEN = 0xffffffffu;

var<workgroup> best_value: array<f32, THREADS>;
var<workgroup> best_token: array<u32, THREADS>;
var<workgroup> best_chunk: array<u32, THREADS>;
var<workgroup> heads: array<u32, CHUNKS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.x;
  let start = row * CHUNKS * LIST_WORDS;
  let to = row * LIST_WORDS;
  for (var chunk = thread; chunk < CHUNKS; chunk += THREADS) {
    heads[chunk] = 0u;
  }
  workgroupBarrier();
  for (var round = 0u; round < params.count; round++) {
    var value = LOWEST;
    var token = NO_TOKEN;
    var owner = 0u;
    for (var chunk = thread; chunk < CHUNKS; chunk += THREADS) {
      if (heads[chunk] < params.count) {
        let at = start + chunk * LIST_WORDS + LIST_HEADER + heads[chunk] * 2u;
        let candidate = bitcast<f32>(chunk_lists[at + 1u]);
        if (candidate > value) {
          value = candidate;
          token = chunk_lists[at];
          owner = chunk;
        }
      }
    }
    best_value[thread] = value;
    best_token[thread] = token;
    best_chunk[thread] = owner;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
      if (thread < half) {
        let other = thread + half;
        if (best_value[other] > best_value[thread] ||
            (best_value[other] == best_value[thread] && best_token[other] < best_token[thread])) {
          best_value[thread] = best_value[other];
          best_token[thread] = best_token[other];
          best_chunk[thread] = best_chunk[other];
        }
      }
      workgroupBarrier();
    }
    if (thread == 0u) {
      lists[to + LIST_HEADER + round * 2u] = best_token[0];
      lists[to + LIST_HEADER + round * 2u + 1u] = bitcast<u32>(best_value[0]);
      heads[best_chunk[0]]++;
    }
    workgroupBarrier();
  }
  if (thread == 0u) {
    let draw = sampling[row];
    let inverse_temperature = bitcast<f32>(draw.z);
    var largest = LOWEST;
    var drawn = LOWEST;
    var drawn_token = NO_TOKEN;
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let at = start + chunk * LIST_WORDS;
      largest = max(largest, bitcast<f32>(chunk_lists[at]));
      if (bitcast<f32>(chunk_lists[at + 3u]) > drawn) {
        drawn = bitcast<f32>(chunk_lists[at + 3u]);
        drawn_token = chunk_lists[at + 2u];
      }
    }
    var plain = 0.0;
    var tempered = 0.0;
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let at = start + chunk * LIST_WORDS;
      let distance = bitcast<f32>(chunk_lists[at]) - largest;
      plain += bitcast<f32>(chunk_lists[at + 5u]) * exp(distance);
      tempered += bitcast<f32>(chunk_lists[at + 6u]) * exp(distance * inverse_temperature);
    }
    lists[to] = bitcast<u32>(largest + log(plain));
    lists[to + 1u] = bitcast<u32>(largest * inverse_temperature + log(tempered));
    lists[to + 2u] = drawn_token;
    lists[to + 3u] = bitcast<u32>(drawn);
    let target_token = draw.w - params.first_token;
    if (target_token < VOCABULARY) {
      lists[to + 4u] = bitcast<u32>(logits[row * VOCABULARY + target_token]);
    }
  }
}
