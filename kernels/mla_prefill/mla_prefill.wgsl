// Causal flash attention of TILE queries of one head over a window of expanded keys, TILE keys at a time. Running maximum, sum and output live in
// `state` and `out` between windows. Windows and tiles begin at fixed positions, so results do not depend on how the prompt was cut into chunks.
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<f32>;
@group(0) @binding(3) var<storage, read> rope_keys: array<f32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> state: array<vec2<f32>>; // maximum, sum
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

const TILE = 16u;
const THREADS = TILE * TILE;
const LOWEST = -3.0e38; // a large finite number: the difference of two infinities is NaN
const QUERY = NOPE + ROPE;
const COLUMNS_PER_THREAD = (VALUE + TILE - 1u) / TILE;

var<workgroup> q_tile: array<f32, TILE * QUERY>;
var<workgroup> k_tile: array<f32, TILE * QUERY>;
var<workgroup> weights: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = group.y;
  let i = thread / TILE; // this thread's query
  let j = thread % TILE; // its key while scoring, its first column while adding values
  let row = group.x * TILE + i;
  let position = params.first_position + row;
  let live = row < params.rows;

  for (var at = thread; at < TILE * QUERY; at += THREADS) {
    let r = group.x * TILE + at / QUERY;
    q_tile[at] = 0.0;
    if (r < params.rows) {
      q_tile[at] = q[(r * HEADS + head) * QUERY + at % QUERY];
    }
  }
  var largest = LOWEST;
  var total = 0.0;
  var sums: array<f32, COLUMNS_PER_THREAD>;
  if (live && params.window_start > 0u) {
    let before = state[row * HEADS + head];
    largest = before.x;
    total = before.y;
    for (var c = 0u; c < COLUMNS_PER_THREAD; c++) {
      if (j + c * TILE < VALUE) {
        sums[c] = out[(row * HEADS + head) * VALUE + j + c * TILE];
      }
    }
  }

  // No query of this workgroup sees beyond its last one.
  let visible = params.first_position + min(params.rows, (group.x + 1u) * TILE);
  let count = min(params.window_count, visible - min(visible, params.window_start));
  for (var first = 0u; first < count; first += TILE) {
    for (var at = thread; at < TILE * QUERY; at += THREADS) {
      let key = first + at / QUERY;
      let d = at % QUERY;
      k_tile[at] = 0.0;
      if (key < count) {
        if (d < NOPE) {
          k_tile[at] = keys[(key * HEADS + head) * NOPE + d];
        } else {
          k_tile[at] = rope_keys[key * ROPE + d - NOPE];
        }
      }
    }
    workgroupBarrier();
    var score = 0.0;
    for (var d = 0u; d < QUERY; d++) {
      score = fma(q_tile[i * QUERY + d], k_tile[j * QUERY + d], score);
    }
    let seen = first + j < count && params.window_start + first + j <= position;
    weights[thread] = select(LOWEST, score * SCALE, seen);
    workgroupBarrier();

    var next = largest;
    for (var k = 0u; k < TILE; k++) {
      next = max(next, weights[i * TILE + k]);
    }
    let shrink = exp(largest - next);
    total *= shrink;
    for (var c = 0u; c < COLUMNS_PER_THREAD; c++) {
      sums[c] *= shrink;
    }
    for (var k = 0u; k < TILE; k++) {
      let s = weights[i * TILE + k];
      if (s > LOWEST) {
        let p = exp(s - next);
        total += p;
        for (var c = 0u; c < COLUMNS_PER_THREAD; c++) {
          if (j + c * TILE < VALUE) {
            sums[c] = fma(p, values[((first + k) * HEADS + head) * VALUE + j + c * TILE], sums[c]);
          }
        }
      }
    }
    largest = next;
    workgroupBarrier();
  }

  if (live) {
    if (j == 0u) {
      state[row * HEADS + head] = vec2(largest, total);
    }
    let finish = select(1.0, 1.0 / total, params.last == 1u);
    for (var c = 0u; c < COLUMNS_PER_THREAD; c++) {
      if (j + c * TILE < VALUE) {
        out[(row * HEADS + head) * VALUE + j + c * TILE] = sums[c] * finish;
      }
    }
  }
}
