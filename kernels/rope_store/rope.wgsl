// Pair p of a rotated part that begins at `base`: (2p, 2p + 1) or (p, p + PAIRS).
const PAIRS = ROPE_WIDTH / 2u;
const PAIR_STEP = select(1u, 2u, INTERLEAVED);
const PAIR_DISTANCE = select(PAIRS, 1u, INTERLEAVED);

// Float i of a token's rotated key.
fn rotated_key(base: u32, position: u32, i: u32) -> f32 {
  let pair = select(i % PAIRS, i / 2u, INTERLEAVED);
  let second = select(i >= PAIRS, i % 2u == 1u, INTERLEAVED);
  let a = base + pair * PAIR_STEP;
  let turn = table[position * PAIRS + pair];
  let value = vec2(x[a], x[a + PAIR_DISTANCE]);
  return select(value.x * turn.x - value.y * turn.y, value.y * turn.x + value.x * turn.y, second);
}

// Rotates pair `index` of all heads' queries in place.
fn rotate_query(row: u32, index: u32) {
  if (index >= HEADS * PAIRS) {
    return;
  }
  let pair = index % PAIRS;
  let a = (row * HEADS + index / PAIRS) * QUERY + QUERY - ROPE_WIDTH + pair * PAIR_STEP;
  let turn = table[step[row].y * PAIRS + pair];
  let value = vec2(q[a], q[a + PAIR_DISTANCE]);
  q[a] = value.x * turn.x - value.y * turn.y;
  q[a + PAIR_DISTANCE] = value.y * turn.x + value.x * turn.y;
}
