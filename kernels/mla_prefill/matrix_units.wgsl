// Causal flash attention on matrix units: ROWS queries of one head over a split of expanded keys, KEYS of them at a time. Splits and tiles begin at fixed
// positions, and no row's result depends on another row, so results do not depend on how the prompt was cut into chunks.
//
// A subgroup has ROW_TILES times 16 queries, and multiplies each matrix of keys or values that it loads from workgroup memory with all of them. For the scores,
// PARTS subgroups divide a tile's keys; for the sums, the value columns. Keys, values and scores each have a place in workgroup memory, and each is stored
// beside products that do not read it: values and scores after the products of keys, the next keys before the products of values. So a tile takes three phases
// (scores, their softmax, sums) and none for storing. Weights go where the same thread has read their scores from, if it has 16 of them, a matrix's row.
//
// Weights are relative to a reference, the first tile's largest score, that moves only when a score exceeds it by MARGIN, since moving it means passing the sums
// through workgroup memory (as in latent_decode/matrix_units.wgsl).
@section(kernel)
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [row, head, column]
// Never written, any of the three: what is read ahead would else be read where it is first used. Eight values in f16 each.
@group(0) @binding(2) var<storage, read_write> keys: array<vec4<u32>>; // [key, head, column]
@group(0) @binding(3) var<storage, read_write> rope_keys: array<vec4<u32>>; // [key, column]
@group(0) @binding(4) var<storage, read_write> values: array<vec4<u32>>; // [key, head, column]
@group(0) @binding(5) var<storage, read_write> state: array<vec2<f32>>; // [split, row, head]: reference in powers of two, sum of weights
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>; // [split, row, head, column]

@fill(declarations)

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const LOWEST = -3.0e38;
const MARGIN = 15.0;
const NOPE_EIGHTS = NOPE / 8u;
const ROPE_EIGHTS = ROPE / 8u;
const VALUE_EIGHTS = VALUE / 8u;
const QUERY_EIGHTS = NOPE_EIGHTS + ROPE_EIGHTS;
// Of 16 bytes, as all that follows; odd, so that rows lie in different banks.
const KEY_STRIDE = QUERY_EIGHTS | 1u;
const VALUE_STRIDE = VALUE_EIGHTS | 1u;
const SCORE_STRIDE = KEYS / 4u + 1u;

struct Memory {
  tiles: array<vec4<u32>, TILES>, // keys, values, scores; before the first tile, queries
  factors: array<f32, ROWS>,
  grown: u32,
}
var<workgroup> memory: Memory;

fn packed(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  return vec4(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}

// Which of `count` eights a thread of a key takes; the last again where there is none.
fn eight(at: u32, count: u32) -> u32 { return select(min(at, count - 1u), at, count % SPAN == 0u); }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let head = group.x;
  // The last queries see most: they begin first.
  let first_row = ((params.rows + ROWS - 1u) / ROWS - 1u - group.y) * ROWS;
  // No query of this workgroup sees beyond its last one, and all of them see what the first one does.
  let visible = params.first_position + min(params.rows, first_row + ROWS);
  let split_key = params.first + group.z * SPLIT;
  let split_start = params.start + group.z * SPLIT;
  let count = min(min(SPLIT, params.end - split_key), visible - min(visible, split_start));
  if (count == 0u) {
    return;
  }
  let last = split_key + count - 1u;
  let first_end = params.first_position + first_row + 1u;
  let seen_by_all = min(count, first_end - min(first_end, split_start));

  let thread = subgroup * 32u + lane;
  let row_part = subgroup % ROW_PARTS;
  let part = subgroup / ROW_PARTS;
  let my_tile = row_part * ROW_TILES * 16u;
  // Where keys are, while there are none.
  let scratch = subgroup * 64u;

  // LANES threads share a query.
  let my_row = thread / LANES;
  let my_lane = thread % LANES;
  let row = first_row + my_row;
  let my_end = params.first_position + row + 1u;
  let seen = min(count, my_end - min(my_end, split_start));
  let my_first = my_lane * PAIRS * 8u;
  let scores_at = SCORES_AT + my_row * SCORE_STRIDE + my_lane * PAIRS * 2u;
  let weights_at = WEIGHTS_AT + my_row * WEIGHT_STRIDE + my_lane * LANE_WEIGHTS;
  var reference = 0.0;
  var total = 0.0;
  @fill(before)
  if (thread == 0u) {
    memory.grown = 0u;
  }

  // What lies beyond the last query or key is computed like it, and not used. Queries go by way of workgroup memory, STAGED_ROWS at a time.
  @unroll(r, ROW_TILES) {
    @unroll(k, QUERY_STEPS) {
      var query_{r}_{k}: Left;
    }
  }
  @unroll(s, QUERY_ROUNDS) {
    @unroll(i, QUERY_LOADS) {
      let staged_{s}_{i} = min({i}u * THREADS + thread, STAGED_ROWS * QUERY_EIGHTS - 1u);
      let query_row_{s}_{i} = min(first_row + {s}u * STAGED_ROWS + staged_{s}_{i} / QUERY_EIGHTS, params.rows - 1u);
      let from_{s}_{i} = ((query_row_{s}_{i} * HEADS + head) * QUERY_EIGHTS + staged_{s}_{i} % QUERY_EIGHTS) * 2u;
      let low_{s}_{i} = q[from_{s}_{i}];
      let high_{s}_{i} = q[from_{s}_{i} + 1u];
    }
    @unroll(i, QUERY_LOADS) {
      memory.tiles[staged_{s}_{i} / QUERY_EIGHTS * KEY_STRIDE + staged_{s}_{i} % QUERY_EIGHTS] = halves(low_{s}_{i}, high_{s}_{i});
    }
    workgroupBarrier();
    if (my_tile / STAGED_ROWS == {s}u) {
      @unroll(r, ROW_TILES) {
        @unroll(k, QUERY_STEPS) {
          query_{r}_{k} = subgroupMatrixLoad<Left, row_major>(&memory.tiles, (my_tile % STAGED_ROWS + {r}u * 16u) * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
        }
      }
    }
    workgroupBarrier();
  }
  @unroll(r, ROW_TILES) {
    @unroll(c, COLUMN_STEPS) {
      var sums_{r}_{c}: Sums;
    }
  }

  // A key's SPAN threads take every SPAN-th eight of its columns, so that one address does for all of them.
  let my_key = thread / SPAN;
  let my_eight = thread % SPAN;
  let nope_to = my_key * KEY_STRIDE + my_eight;
  let rope_to = my_key * KEY_STRIDE + NOPE_EIGHTS + my_eight;
  let value_to = VALUES_AT + my_key * VALUE_STRIDE + my_eight;
  let first_key = min(split_key + my_key, last);
  @unroll(i, NOPE_LOADS) {
    var nope_{i} = keys[(first_key * HEADS + head) * NOPE_EIGHTS + eight({i}u * SPAN + my_eight, NOPE_EIGHTS)];
  }
  @unroll(i, ROPE_LOADS) {
    var rope_{i} = rope_keys[first_key * ROPE_EIGHTS + eight({i}u * SPAN + my_eight, ROPE_EIGHTS)];
  }
  @unroll(i, VALUE_LOADS) {
    var value_{i} = values[(first_key * HEADS + head) * VALUE_EIGHTS + eight({i}u * SPAN + my_eight, VALUE_EIGHTS)];
  }
  @fill(store_keys)
  let second_key = min(split_key + KEYS + my_key, last);
  @unroll(i, NOPE_LOADS) {
    nope_{i} = keys[(second_key * HEADS + head) * NOPE_EIGHTS + eight({i}u * SPAN + my_eight, NOPE_EIGHTS)];
  }
  @unroll(i, ROPE_LOADS) {
    rope_{i} = rope_keys[second_key * ROPE_EIGHTS + eight({i}u * SPAN + my_eight, ROPE_EIGHTS)];
  }
  workgroupBarrier();

  var first = 0u;
  for (; first < count;) {
    // In the inner loop references stay: what moving them takes of registers and order would cost every tile.
    var highest: f32;
    var added: f32;
    var begins: bool;
    @unroll(w, PAIRS) {
      @unroll(e, 2) {
        var score_{w}_{e}: vec4<f32>;
      }
    }
    for (; first < count;) {
      @unroll(r, ROW_TILES) {
        @unroll(t, KEY_STEPS) {
          var product_{r}_{t} = Sums();
        }
      }
      @unroll(k, QUERY_STEPS) {
        @unroll(t, KEY_STEPS) {
          {
            let key = subgroupMatrixLoad<Right, col_major>(&memory.tiles, (part * KEY_STEPS + {t}u) * 16u * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
            @unroll(r, ROW_TILES) {
              product_{r}_{t} = subgroupMatrixMultiplyAccumulate(query_{r}_{k}, key, product_{r}_{t});
            }
          }
        }
      }
      @unroll(r, ROW_TILES) {
        @unroll(t, KEY_STEPS) {
          let products_at_{r}_{t} = SCORES_AT + (my_tile + {r}u * 16u) * SCORE_STRIDE + (part * KEY_STEPS + {t}u) * 4u;
          subgroupMatrixStore<row_major>(&memory.tiles, products_at_{r}_{t}, product_{r}_{t}, SCORE_STRIDE);
        }
      }
      @unroll(i, VALUE_LOADS) {
        if (VALUE_EIGHTS % SPAN == 0u || {i}u * SPAN + my_eight < VALUE_EIGHTS) {
          memory.tiles[value_to + {i}u * SPAN] = value_{i};
        }
      }
      workgroupBarrier();

      // In powers of two. All scores are read before a weight is stored: what is read after a store waits for it (bench/NOTES.md).
      highest = LOWEST;
      added = 0.0;
      @unroll(w, PAIRS) {
        @unroll(e, 2) {
          score_{w}_{e} = fma(bitcast<vec4<f32>>(memory.tiles[scores_at + {w}u * 2u + {e}u]), vec4(SCALE), vec4(-reference));
        }
      }
      if (first + KEYS > seen_by_all) {
        @unroll(w, PAIRS) {
          @unroll(e, 2) {
            score_{w}_{e} = select(vec4(LOWEST), score_{w}_{e}, vec4(my_first + first + {w}u * 8u + {e}u * 4u) + vec4(0u, 1u, 2u, 3u) < vec4(seen));
          }
        }
      }
      @fill(leave_out)
      @unroll(w, PAIRS) {
        @unroll(e, 2) {
          highest = max(highest, max(max(score_{w}_{e}.x, score_{w}_{e}.y), max(score_{w}_{e}.z, score_{w}_{e}.w)));
        }
      }
      @unroll(w, PAIRS) {
        @unroll(e, 2) {
          let weights_{w}_{e} = exp2(score_{w}_{e});
          added += (weights_{w}_{e}.x + weights_{w}_{e}.y) + (weights_{w}_{e}.z + weights_{w}_{e}.w);
        }
        memory.tiles[weights_at + {w}u] = packed(weights_{w}_0, weights_{w}_1);
      }
      @fill(begins)
      if (begins || highest > MARGIN) {
        memory.grown = 1u;
      }
      if (workgroupUniformLoad(&memory.grown) != 0u) {
        break;
      }
      total += added;
@fill(sums)
      first += KEYS;
    }
    if (first >= count) {
      break;
    }
    @fill(reference_shift)
    @unroll(w, PAIRS) {
      @unroll(e, 2) {
        let moved_{w}_{e} = exp2(score_{w}_{e} - vec4(shift));
        added += (moved_{w}_{e}.x + moved_{w}_{e}.y) + (moved_{w}_{e}.z + moved_{w}_{e}.w);
      }
      memory.tiles[weights_at + {w}u] = packed(moved_{w}_0, moved_{w}_1);
    }
    workgroupBarrier();
    if (first > 0u) {
      @unroll(r, ROW_TILES) {
        @unroll(c, COLUMN_STEPS) {
          subgroupMatrixStore<row_major>(&memory.tiles, scratch, sums_{r}_{c}, 4u);
          workgroupBarrier();
          for (var j = lane; j < 64u; j += 32u) {
            let four = bitcast<vec4<f32>>(memory.tiles[scratch + j]);
            memory.tiles[scratch + j] = bitcast<vec4<u32>>(four * memory.factors[my_tile + {r}u * 16u + j / 4u]);
          }
          workgroupBarrier();
          sums_{r}_{c} = subgroupMatrixLoad<Sums, row_major>(&memory.tiles, scratch, 4u);
          workgroupBarrier();
        }
      }
    }
    if (thread == 0u) {
      memory.grown = 0u;
    }
    total += added;
    @fill(begun)
@fill(sums)
    first += KEYS;
  }

  for (var distance = 1u; distance < LANES; distance *= 2u) {
    total += subgroupShuffleXor(total, distance);
  }
  if (my_lane == 0u && row < params.rows) {
    @fill(own_reference)
    state[(group.z * params.rows + row) * HEADS + head] = vec2(own_reference, total);
  }
  @unroll(r, ROW_TILES) {
    @unroll(c, COLUMN_STEPS) {
      subgroupMatrixStore<row_major>(&memory.tiles, scratch, sums_{r}_{c}, 4u);
      workgroupBarrier();
      for (var j = lane; j < 64u; j += 32u) {
        let tile_row = my_tile + {r}u * 16u + j / 4u;
        if (first_row + tile_row < params.rows) {
          let to = (((group.z * params.rows + first_row + tile_row) * HEADS + head) * VALUE + ({c}u * PARTS + part) * 16u) / 4u + j % 4u;
          out[to] = bitcast<vec4<f32>>(memory.tiles[scratch + j]);
        }
      }
      workgroupBarrier();
    }
  }
}
@section(store_keys)
  @unroll(i, NOPE_LOADS) {
    if (NOPE_EIGHTS % SPAN == 0u || {i}u * SPAN + my_eight < NOPE_EIGHTS) {
      memory.tiles[nope_to + {i}u * SPAN] = nope_{i};
    }
  }
  @unroll(i, ROPE_LOADS) {
    if (ROPE_EIGHTS % SPAN == 0u || {i}u * SPAN + my_eight < ROPE_EIGHTS) {
      memory.tiles[rope_to + {i}u * SPAN] = rope_{i};
    }
  }
@section(sums)
@fill(store_keys)
  @unroll(t, KEY_TILES) {
    @unroll(r, ROW_TILES) {
      let weights_of_{r}_{t} = subgroupMatrixLoad<Left, row_major>(
        &memory.tiles, WEIGHTS_AT + (my_tile + {r}u * 16u) * WEIGHT_STRIDE + {t}u * TILE_WEIGHTS, WEIGHT_STRIDE);
    }
  }
  // The next values, and the keys behind the next, are under way meanwhile: all are asked for at once, since whoever waits for one waits for all. Behind the
  // last tile, its last key again.
  let value_key = min(split_key + first + KEYS + my_key, last);
  let next_key = min(split_key + first + 2u * KEYS + my_key, last);
  @unroll(i, VALUE_LOADS) {
    value_{i} = values[(value_key * HEADS + head) * VALUE_EIGHTS + eight({i}u * SPAN + my_eight, VALUE_EIGHTS)];
  }
  @unroll(i, NOPE_LOADS) {
    nope_{i} = keys[(next_key * HEADS + head) * NOPE_EIGHTS + eight({i}u * SPAN + my_eight, NOPE_EIGHTS)];
  }
  @unroll(i, ROPE_LOADS) {
    rope_{i} = rope_keys[next_key * ROPE_EIGHTS + eight({i}u * SPAN + my_eight, ROPE_EIGHTS)];
  }
@fill(ask)
  @unroll(t, KEY_TILES) {
    @unroll(c, COLUMN_STEPS) {
      {
        let columns = subgroupMatrixLoad<Right, row_major>(&memory.tiles, VALUES_AT + {t}u * 16u * VALUE_STRIDE + ({c}u * PARTS + part) * 2u, VALUE_STRIDE);
        @unroll(r, ROW_TILES) {
          sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(weights_of_{r}_{t}, columns, sums_{r}_{c});
        }
      }
    }
  }
  workgroupBarrier();
