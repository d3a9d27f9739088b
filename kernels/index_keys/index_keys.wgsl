@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(5) var<storage, read> table: array<vec2<f32>>; // [positions and those of short sequences, PAIRS], (cos, sin)
@group(0) @binding(6) var<storage, read_write> q: array<f32>; // [row, head, column]
@group(0) @binding(7) var<storage, read_write> cache: array<u32>;
@group(0) @binding(8) var<storage, read> tables: array<u32>;

// Pair p: (2p, 2p + 1) or (p, p + PAIRS).
const PAIRS = ROPE_WIDTH / 2u;
const PAIR_STEP = select(1u, 2u, INTERLEAVED);
const PAIR_DISTANCE = select(PAIRS, 1u, INTERLEAVED);

var<workgroup> key: array<f32, CACHE_WIDTH>;
var<workgroup> sums: array<f32, THREADS>;
var<workgroup> folded: array<f32, PARTS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // The first workgroup of a row stores its key, the others rotate its queries.
  let row = group.x;
  let turns = (step[row].y + (step[row].z >> 31u) * POSITIONS) * PAIRS;
  if (group.y > 0u) {
    rotate_query(row, turns, (group.y - 1u) * THREADS + thread);
    return;
  }
  var own = 0.0;
  for (var k = thread; k < WIDTH; k += THREADS) {
    own += x[row * WIDTH + k];
  }
  let mean = sum_of_all(thread, own) / f32(WIDTH);
  own = 0.0;
  for (var k = thread; k < WIDTH; k += THREADS) {
    let distance = x[row * WIDTH + k] - mean;
    own = fma(distance, distance, own);
  }
  let scale = 1.0 / sqrt(sum_of_all(thread, own) / f32(WIDTH) + EPS);
  for (var k = thread; k < CACHE_WIDTH; k += THREADS) {
    var value = 0.0;
    if (k < WIDTH) {
      value = (x[row * WIDTH + k] - mean) * scale * gain[k] + bias[k];
    }
    key[k] = value;
  }
  workgroupBarrier();
  let position = step[row].y;
  let slot = tables[step[row].w + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS;
@fill(store)
}

@fill(functions)

// The sum of what all threads bring, in a fixed order.
fn sum_of_all(thread: u32, own: f32) -> f32 {
  sums[thread] = own;
  workgroupBarrier();
  if (thread < PARTS) {
    var sum = 0.0;
    for (var i = 0u; i < THREADS / PARTS; i++) {
      sum += sums[i * PARTS + thread];
    }
    folded[thread] = sum;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < PARTS; i++) {
    sum += folded[i];
  }
  workgroupBarrier();
  return sum;
}

fn rotated(column: u32, turns: u32) -> f32 {
  if (column >= ROPE_WIDTH) {
    return key[column];
  }
  let pair = select(column % PAIRS, column / 2u, INTERLEAVED);
  let second = select(column >= PAIRS, column % 2u == 1u, INTERLEAVED);
  let turn = table[turns + pair];
  let value = vec2(key[pair * PAIR_STEP], key[pair * PAIR_STEP + PAIR_DISTANCE]);
  return select(value.x * turn.x - value.y * turn.y, value.y * turn.x + value.x * turn.y, second);
}

// Rotates pair `index` of all heads' queries.
fn rotate_query(row: u32, turns: u32, index: u32) {
  if (index >= HEADS * PAIRS) {
    return;
  }
  let pair = index % PAIRS;
  let a = (row * HEADS + index / PAIRS) * WIDTH + pair * PAIR_STEP;
  let turn = table[turns + pair];
  let value = vec2(q[a], q[a + PAIR_DISTANCE]);
  q[a] = value.x * turn.x - value.y * turn.y;
  q[a + PAIR_DISTANCE] = value.y * turn.x + value.x * turn.y;
}
