// Causal flash attention on matrix units: ROWS queries of one head over a window of expanded keys, KEYS of them at a time. Windows and tiles begin at fixed
// positions, and no row's result depends on another row, so results do not depend on how the prompt was cut into chunks.
//
// A subgroup has 16 queries. For the scores, PARTS of them divide a tile's keys; for the sums, the value columns. Weights are relative to a reference, the
// first tile's largest score, that moves only when a score exceeds it by MARGIN (as in latent_decode/matrix_units.wgsl).
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [row, head, column]
// Never written, any of the three: what is read ahead would else be read where it is first used.
@group(0) @binding(2) var<storage, read_write> keys: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> rope_keys: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> values: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> state: array<vec2<f32>>; // reference in powers of two, sum of weights
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const LOWEST = -3.0e38;
const MARGIN = 15.0;
const ROWS = ROW_PARTS * 16u;
const KEYS = PARTS * 16u;
const THREADS = ROW_PARTS * PARTS * 32u;
const LANES = THREADS / ROWS;
// In workgroup memory, eights of halves; odd strides, so that rows lie in different banks.
const NOPE_EIGHTS = NOPE / 8u;
const ROPE_EIGHTS = ROPE / 8u;
const VALUE_EIGHTS = VALUE / 8u;
const QUERY_EIGHTS = NOPE_EIGHTS + ROPE_EIGHTS;
const KEY_STRIDE = QUERY_EIGHTS | 1u;
const VALUE_STRIDE = VALUE_EIGHTS | 1u;
const SCORE_STRIDE = KEYS + SCORE_PADDING;
const WEIGHT_STRIDE = KEYS / 2u + 4u;

struct Memory {
  keys: array<vec4<u32>, KEYS * KEY_STRIDE>, // before the first tile, queries
  values: array<vec4<u32>, KEYS * VALUE_STRIDE>,
  scores: array<f32, max(ROWS * SCORE_STRIDE, ROW_PARTS * PARTS * 256u)>,
  weights: array<u32, ROWS * WEIGHT_STRIDE>, // two of them each
  factors: array<f32, ROWS>,
  grown: u32,
}
var<workgroup> memory: Memory;

// Where eight columns of a key or a value begin.
fn nope_at(key: u32, head: u32, eight: u32) -> u32 { return ((key * HEADS + head) * NOPE_EIGHTS + eight) * 2u; }
fn rope_at(key: u32, eight: u32) -> u32 { return (key * ROPE_EIGHTS + eight) * 2u; }
fn value_at(key: u32, head: u32, eight: u32) -> u32 { return ((key * HEADS + head) * VALUE_EIGHTS + eight) * 2u; }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let head = group.y;
  let first_row = group.x * ROWS;
  let thread = subgroup * 32u + lane;
  let my_tile = subgroup % ROW_PARTS * 16u;
  let part = subgroup / ROW_PARTS;
  let scratch = subgroup * 256u;

  // LANES threads share a query.
  let my_row = thread / LANES;
  let my_lane = thread % LANES;
  let row = first_row + my_row;
  let item = min(row, params.rows - 1u) * HEADS + head;
  let resumes = params.window_start > 0u;
  var reference = 0.0;
  var total = 0.0;
  if (resumes) {
    let before = state[item];
    reference = before.x;
    total = select(0.0, before.y, my_lane == 0u);
  }
  // No query of this workgroup sees beyond its last one, and each sees no further than itself.
  let visible = params.first_position + min(params.rows, first_row + ROWS);
  let count = min(params.window_count, visible - min(visible, params.window_start));
  let last = max(count, 1u) - 1u;
  let seen = min(count, params.first_position + row + 1u - min(params.first_position + row + 1u, params.window_start));
  if (thread == 0u) {
    memory.grown = 0u;
  }

  // Queries, KEYS at a time where keys will be. What lies beyond the last query or key is computed like it, and not used.
  @unroll(k, QUERY_STEPS) {
    var query_{k}: Left;
  }
  for (var staged = 0u; staged < ROWS; staged += KEYS) {
    for (var i = thread; i < KEYS * QUERY_EIGHTS; i += THREADS) {
      let place = (min(first_row + staged + i / QUERY_EIGHTS, params.rows - 1u) * HEADS + head) * QUERY_EIGHTS + i % QUERY_EIGHTS;
      memory.keys[i / QUERY_EIGHTS * KEY_STRIDE + i % QUERY_EIGHTS] = halves(q[place * 2u], q[place * 2u + 1u]);
    }
    workgroupBarrier();
    if (my_tile / KEYS * KEYS == staged) {
      @unroll(k, QUERY_STEPS) {
        query_{k} = subgroupMatrixLoad<Left, row_major>(&memory.keys, (my_tile - staged) * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
      }
    }
    workgroupBarrier();
  }
  @unroll(c, COLUMN_STEPS) {
    var sums_{c}: Sums;
    if (resumes) {
      for (var j = lane; j < 64u; j += 32u) {
        let from_row = min(first_row + my_tile + j / 4u, params.rows - 1u);
        let four = out[((from_row * HEADS + head) * VALUE + ({c}u * PARTS + part) * 16u) / 4u + j % 4u];
        @unroll(e, 4) {
          memory.scores[scratch + j * 4u + {e}u] = four[{e}];
        }
      }
      workgroupBarrier();
      sums_{c} = subgroupMatrixLoad<Sums, row_major>(&memory.scores, scratch, 16u);
      workgroupBarrier();
    }
  }

  @unroll(i, NOPE_LOADS) {
    let nope_row_{i} = min(({i}u * THREADS + thread) / NOPE_EIGHTS, KEYS - 1u);
    let nope_eight_{i} = ({i}u * THREADS + thread) % NOPE_EIGHTS;
    var nope_from_{i} = nope_at(min(nope_row_{i}, last), head, nope_eight_{i});
    var nope_low_{i} = keys[nope_from_{i}];
    var nope_high_{i} = keys[nope_from_{i} + 1u];
  }
  @unroll(i, ROPE_LOADS) {
    let rope_row_{i} = min(({i}u * THREADS + thread) / ROPE_EIGHTS, KEYS - 1u);
    let rope_eight_{i} = ({i}u * THREADS + thread) % ROPE_EIGHTS;
    var rope_from_{i} = rope_at(min(rope_row_{i}, last), rope_eight_{i});
    var rope_low_{i} = rope_keys[rope_from_{i}];
    var rope_high_{i} = rope_keys[rope_from_{i} + 1u];
  }
  @unroll(i, VALUE_LOADS) {
    let value_row_{i} = min(({i}u * THREADS + thread) / VALUE_EIGHTS, KEYS - 1u);
    let value_eight_{i} = ({i}u * THREADS + thread) % VALUE_EIGHTS;
    var value_from_{i} = value_at(min(value_row_{i}, last), head, value_eight_{i});
    var value_low_{i} = values[value_from_{i}];
    var value_high_{i} = values[value_from_{i} + 1u];
  }

  for (var first = 0u; first < count; first += KEYS) {
    @unroll(i, NOPE_LOADS) {
      if ({i}u * THREADS + thread < KEYS * NOPE_EIGHTS) {
        memory.keys[nope_row_{i} * KEY_STRIDE + nope_eight_{i}] = halves(nope_low_{i}, nope_high_{i});
      }
    }
    @unroll(i, ROPE_LOADS) {
      if ({i}u * THREADS + thread < KEYS * ROPE_EIGHTS) {
        memory.keys[rope_row_{i} * KEY_STRIDE + NOPE_EIGHTS + rope_eight_{i}] = halves(rope_low_{i}, rope_high_{i});
      }
    }
    @unroll(i, VALUE_LOADS) {
      if ({i}u * THREADS + thread < KEYS * VALUE_EIGHTS) {
        memory.values[value_row_{i} * VALUE_STRIDE + value_eight_{i}] = halves(value_low_{i}, value_high_{i});
      }
    }
    workgroupBarrier();
    // The next tile is under way meanwhile; behind the last one, its last key again.
    let next = first + KEYS;
    @unroll(i, NOPE_LOADS) {
      nope_from_{i} = nope_at(min(next + nope_row_{i}, last), head, nope_eight_{i});
      nope_low_{i} = keys[nope_from_{i}];
      nope_high_{i} = keys[nope_from_{i} + 1u];
    }
    @unroll(i, ROPE_LOADS) {
      rope_from_{i} = rope_at(min(next + rope_row_{i}, last), rope_eight_{i});
      rope_low_{i} = rope_keys[rope_from_{i}];
      rope_high_{i} = rope_keys[rope_from_{i} + 1u];
    }
    @unroll(i, VALUE_LOADS) {
      value_from_{i} = value_at(min(next + value_row_{i}, last), head, value_eight_{i});
      value_low_{i} = values[value_from_{i}];
      value_high_{i} = values[value_from_{i} + 1u];
    }

    var product = Sums();
    @unroll(k, QUERY_STEPS) {
      let key_{k} = subgroupMatrixLoad<Right, col_major>(&memory.keys, part * 16u * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
      product = subgroupMatrixMultiplyAccumulate(query_{k}, key_{k}, product);
    }
    subgroupMatrixStore<row_major>(&memory.scores, my_tile * SCORE_STRIDE + part * 16u, product, SCORE_STRIDE);
    workgroupBarrier();

    // In powers of two.
    var highest = LOWEST;
    var added = 0.0;
    // All scores are read before a weight is stored: what is read after a store waits for it (bench/NOTES.md).
    @unroll(i, PAIRS) {
      let pair_{i} = {i}u * LANES + my_lane;
      @unroll(e, 2) {
        let score_{i}_{e} = select(LOWEST, fma(memory.scores[my_row * SCORE_STRIDE + pair_{i} * 2u + {e}u], SCALE, -reference), first + pair_{i} * 2u + {e}u < seen);
        highest = max(highest, score_{i}_{e});
      }
    }
    @unroll(i, PAIRS) {
      let weights_{i} = vec2(exp2(score_{i}_0), exp2(score_{i}_1));
      added += weights_{i}.x + weights_{i}.y;
      memory.weights[my_row * WEIGHT_STRIDE + pair_{i}] = pack2x16float(weights_{i});
    }
    // Position 0, which every query sees, is in the first tile of the first window.
    let begins = !resumes && first == 0u;
    if (begins || highest > MARGIN) {
      memory.grown = 1u;
    }
    if (workgroupUniformLoad(&memory.grown) != 0u) {
      @fill(reference_shift)
      @unroll(i, PAIRS) {
        let moved_{i} = vec2(exp2(score_{i}_0 - shift), exp2(score_{i}_1 - shift));
        added += moved_{i}.x + moved_{i}.y;
        memory.weights[my_row * WEIGHT_STRIDE + pair_{i}] = pack2x16float(moved_{i});
      }
      workgroupBarrier();
      if (!begins) {
        @unroll(c, COLUMN_STEPS) {
          subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{c}, 16u);
          workgroupBarrier();
          for (var j = lane; j < 256u; j += 32u) {
            memory.scores[scratch + j] *= memory.factors[my_tile + j / 16u];
          }
          workgroupBarrier();
          sums_{c} = subgroupMatrixLoad<Sums, row_major>(&memory.scores, scratch, 16u);
          workgroupBarrier();
        }
      }
      if (thread == 0u) {
        memory.grown = 0u;
      }
    }
    total += added;

    @unroll(t, PARTS) {
      let weights_of_{t} = subgroupMatrixLoad<Left, row_major>(&memory.weights, my_tile * WEIGHT_STRIDE + {t}u * 8u, WEIGHT_STRIDE);
      @unroll(c, COLUMN_STEPS) {
        {
          let columns = subgroupMatrixLoad<Right, row_major>(&memory.values, {t}u * 16u * VALUE_STRIDE + ({c}u * PARTS + part) * 2u, VALUE_STRIDE);
          sums_{c} = subgroupMatrixMultiplyAccumulate(weights_of_{t}, columns, sums_{c});
        }
      }
    }
    workgroupBarrier();
  }

  for (var distance = 1u; distance < LANES; distance *= 2u) {
    total += subgroupShuffleXor(total, distance);
  }
  if (my_lane == 0u) {
    memory.factors[my_row] = select(1.0, 1.0 / total, params.last == 1u);
    if (row < params.rows) {
      state[item] = vec2(reference, total);
    }
  }
  @unroll(c, COLUMN_STEPS) {
    subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{c}, 16u);
    workgroupBarrier();
    for (var j = lane; j < 64u; j += 32u) {
      let to_row = first_row + my_tile + j / 4u;
      if (to_row < params.rows) {
        let at = scratch + j * 4u;
        let four = vec4(memory.scores[at], memory.scores[at + 1u], memory.scores[at + 2u], memory.scores[at + 3u]);
        out[((to_row * HEADS + head) * VALUE + ({c}u * PARTS + part) * 16u) / 4u + j % 4u] = four * memory.factors[my_tile + j / 4u];
      }
    }
    workgroupBarrier();
  }
}
