// Pair p of a rotated part that begins at `base`: (2p, 2p + 1) or (p, p + PAIRS).
const PAIRS = ROPE_WIDTH / 2u;
const PAIR_STEP = select(1u, 2u, INTERLEAVED);
const PAIR_DISTANCE = select(PAIRS, 1u, INTERLEAVED);

// Row of the table for a token: of short sequences, which the slot's highest bit tells, there are others behind those of all positions.
fn turns_of(row: u32) -> u32 {
  return step[row].y + (step[row].z >> 31u) * POSITIONS;
}

// Float i of a token's rotated key.
fn rotated_key(base: u32, turns: u32, i: u32) -> f32 {
  let pair = select(i % PAIRS, i / 2u, INTERLEAVED);
  let second = select(i >= PAIRS, i % 2u == 1u, INTERLEAVED);
  let a = base + pair * PAIR_STEP;
  let turn = table[turns * PAIRS + pair];
  let value = vec2(x[a], x[a + PAIR_DISTANCE]);
  return select(value.x * turn.x - value.y * turn.y, value.y * turn.x + value.x * turn.y, second);
}

// Rotates pair `index` of all heads' queries, in place or into the absorbed queries.
fn rotate_query(row: u32, index: u32) {
  if (index >= HEADS * PAIRS) {
    return;
  }
  let pair = index % PAIRS;
  let item = row * HEADS + index / PAIRS;
  let a = item * QUERY + QUERY - ROPE_WIDTH + pair * PAIR_STEP;
  let turn = table[turns_of(row) * PAIRS + pair];
  let value = vec2(q[a], q[a + PAIR_DISTANCE]);
  let first = value.x * turn.x - value.y * turn.y;
  let second = value.y * turn.x + value.x * turn.y;
  if (row < params.absorbed_rows) {
    let to = item * CACHE_WIDTH + ROPE_OFFSET + pair * PAIR_STEP;
    queries[to] = Query(first);
    queries[to + PAIR_DISTANCE] = Query(second);
  } else {
    q[a] = first;
    q[a + PAIR_DISTANCE] = second;
  }
}
