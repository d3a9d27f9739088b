// A tile of latents, its scores and its weights, each in a place of its own: the least workgroup memory, so that most workgroups share a processor.
@section(memory)
const WEIGHT_STRIDE = TOKENS / 2u + 4u;

// Matrices begin at multiples of 16 bytes: their loads round addresses down to that.
struct Memory {
  tiles: array<vec4<u32>, TOKENS * STRIDE>, // latents
  scores: array<f32, max(WIDTH_PARTS * ROWS * SCORE_STRIDE, SUBGROUPS * 256u)>,
  weights: array<u32, ROWS * WEIGHT_STRIDE>, // two of them each
  factors: array<f32, ROWS>,
  blocks: array<u32, HELD_STRIPS>, // of strips to come: looked up in storage, each would be waited for, and with it the tiles on their way
  grown: u32,
}
var<workgroup> memory: Memory;

@section(first)
  @unroll(i, LOADS) {
    let to_{i} = place_of({i}u * THREADS + thread);
  }
  @unroll(s, AHEAD) {
    let first_{s} = min({s}u * TOKENS, last);
    let base_{s} = vectors_before(first_{s}, split, splits);
    let limit_{s} = min(TOKENS, end - first_{s}) * LOADED - 1u;
    @unroll(i, LOADS) {
      var ahead_{s}_{i} = fetch(base_{s}, min({i}u * THREADS + thread, limit_{s}));
    }
  }
@section(tiles)
  for (var round = 0u; round < end; round += AHEAD * TOKENS) {
    @unroll(s, AHEAD) {
      {
        let first = round + {s}u * TOKENS;
        if (first >= end) {
          break;
        }
@fill(put)
@fill(hold)
@fill(ask)
@fill(scores)
@fill(weigh)
        let begins = first == 0u;
        if (begins || highest > MARGIN) {
          memory.grown = 1u;
        }
        if (workgroupUniformLoad(&memory.grown) != 0u) {
@fill(move)
        }
        total += added;
@fill(sum)
      }
    }
  }
@section(tiles_outside)
  // In the inner loop references stay: what moving them takes of registers, which hold queries and sums already, would cost every tile (bench/NOTES.md).
  var first = 0u;
  var highest: f32;
  var added: f32;
  @unroll(i, PAIRS) {
    let pair_{i} = {i}u * LANES + my_lane;
    @unroll(e, 2) {
      var score_{i}_{e}: f32;
    }
  }
  @unroll(s, AHEAD) {
@fill(put)
@fill(ask)
@fill(scores)
  }
  for (; first < end;) {
    let begins = first == 0u;
@fill(move)
    total += added;
@fill(sum)
    first += TOKENS;
    for (; first < end;) {
      @unroll(s, AHEAD) {
@fill(put)
@fill(hold)
@fill(ask)
@fill(scores)
      }
@fill(weigh)
      if (highest > MARGIN) {
        memory.grown = 1u;
      }
      if (workgroupUniformLoad(&memory.grown) != 0u) {
        break;
      }
      total += added;
@fill(sum)
      first += TOKENS;
    }
  }
@section(put)
  @unroll(i, LOADS) {
    if (LOADS * THREADS == TOKENS * LOADED || {i}u * THREADS + thread < TOKENS * LOADED) {
      put(to_{i}, ahead_{s}_{i});
    }
  }
  workgroupBarrier();
  let next = min(first + AHEAD * TOKENS, last);
@section(hold)
  if (next % (HELD_STRIPS * STRIP_TOKENS) == 0u) {
    for (var i = thread; i < HELD_STRIPS; i += THREADS) {
      memory.blocks[i] = tables[table + position_of(split, splits, min(next + i * STRIP_TOKENS, last)) / BLOCK_TOKENS];
    }
    workgroupBarrier();
  }
@section(ask)
  let base = vectors_before(next, split, splits);
  let limit = min(TOKENS, end - next) * LOADED - 1u;
  @unroll(i, LOADS) {
    ahead_{s}_{i} = fetch(base, min({i}u * THREADS + thread, limit));
  }
@section(scores)
  @unroll(r, ROW_TILES) {
    @unroll(t, TOKEN_STEPS) {
      var product_{r}_{t} = Sums();
    }
  }
  @unroll(k, WIDTH_STEPS) {
    @unroll(t, TOKEN_STEPS) {
      {
        let keys_at = (token_part * TOKEN_STEPS + {t}u) * 16u * STRIDE + (width_part * WIDTH_STEPS + {k}u) * 2u;
        let keys = subgroupMatrixLoad<Right, col_major>(&memory.tiles, keys_at, STRIDE);
        @unroll(r, ROW_TILES) {
          product_{r}_{t} = subgroupMatrixMultiplyAccumulate(query_{r}_{k}, keys, product_{r}_{t});
        }
      }
    }
  }
  @unroll(r, ROW_TILES) {
    @unroll(t, TOKEN_STEPS) {
      let scores_at_{r}_{t} = (width_part * ROWS + my_head + {r}u * 16u) * SCORE_STRIDE + (token_part * TOKEN_STEPS + {t}u) * 16u;
      subgroupMatrixStore<row_major>(&memory.scores, scores_at_{r}_{t}, product_{r}_{t}, SCORE_STRIDE);
    }
  }
  workgroupBarrier();

  // In powers of two.
  @unroll(own, INSIDE) { var } highest = LOWEST;
  @unroll(own, INSIDE) { var } added = 0.0;
  let remaining = end - first;
  // All scores are read before a weight is stored: what is read after a store waits for it (bench/NOTES.md).
  @unroll(i, PAIRS) {
    @unroll(own, INSIDE) {
      let pair_{i} = {i}u * LANES + my_lane;
    }
    @unroll(e, 2) {
      @unroll(own, INSIDE) { var } score_{i}_{e} = memory.scores[my_row * SCORE_STRIDE + pair_{i} * 2u + {e}u];
      @unroll(p, OTHER_WIDTH_PARTS) {
        score_{i}_{e} += memory.scores[(({p}u + 1u) * ROWS + my_row) * SCORE_STRIDE + pair_{i} * 2u + {e}u];
      }
      score_{i}_{e} = select(LOWEST, fma(score_{i}_{e}, SCALE, -reference), pair_{i} * 2u + {e}u < remaining);
      highest = max(highest, score_{i}_{e});
    }
  }
@section(weigh)
  @unroll(i, PAIRS) {
    let weights_{i} = vec2(exp2(score_{i}_0), exp2(score_{i}_1));
    added += weights_{i}.x + weights_{i}.y;
    memory.weights[my_row * WEIGHT_STRIDE + pair_{i}] = pack2x16float(weights_{i});
  }
@section(move)
  @fill(reference_shift)
  @unroll(i, PAIRS) {
    let moved_{i} = vec2(exp2(score_{i}_0 - shift), exp2(score_{i}_1 - shift));
    added += moved_{i}.x + moved_{i}.y;
    memory.weights[my_row * WEIGHT_STRIDE + pair_{i}] = pack2x16float(moved_{i});
  }
  workgroupBarrier();
  if (!begins) {
    @unroll(r, ROW_TILES) {
      @unroll(c, COLUMN_STEPS) {
        subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{r}_{c}, 16u);
        workgroupBarrier();
        for (var j = lane; j < 256u; j += 32u) {
          memory.scores[scratch + j] *= memory.factors[my_head + {r}u * 16u + j / 16u];
        }
        workgroupBarrier();
        sums_{r}_{c} = subgroupMatrixLoad<Sums, row_major>(&memory.scores, scratch, 16u);
        workgroupBarrier();
      }
    }
  }
  if (thread == 0u) {
    memory.grown = 0u;
  }
@section(sum)
  @unroll(t, TOKEN_TILES) {
    @unroll(r, ROW_TILES) {
      let weights_{r}_{t} = subgroupMatrixLoad<Left, row_major>(&memory.weights, (my_head + {r}u * 16u) * WEIGHT_STRIDE + {t}u * 8u, WEIGHT_STRIDE);
    }
    @unroll(c, COLUMN_STEPS) {
      if (COLUMN_STEPS * COLUMN_PARTS == COLUMN_TILES || part + {c}u * COLUMN_PARTS < COLUMN_TILES) {
        let values_at = {t}u * 16u * STRIDE + VALUE_OFFSET / 8u + (part + {c}u * COLUMN_PARTS) * 2u;
        let values = subgroupMatrixLoad<Right, row_major>(&memory.tiles, values_at, STRIDE);
        @unroll(r, ROW_TILES) {
          sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(weights_{r}_{t}, values, sums_{r}_{c});
        }
      }
    }
  }
  workgroupBarrier();
