// Two tiles of workgroup memory, for a workgroup that has a processor to itself: scores are where the latents before were, and the next latents go where scores
// have been read from. So storing latents needs no barrier of its own, and runs beside the products of values.
//
// No other workgroup computes while this one waits or computes addresses, so that both count. A thread takes every SPAN-th vector of one token, which lie at
// constant distances, and four scores at a time.
@section(memory)
const WEIGHT_STRIDE = TOKENS / 4u + 2u; // pairs of words
const TILE = max(TOKENS * STRIDE, max(WIDTH_PARTS * ROWS * SCORE_STRIDE, SUBGROUPS * 256u) / 4u);

// Matrices begin at multiples of 16 bytes: their loads round addresses down to that.
struct Memory {
  tiles: array<vec4<u32>, 2u * TILE>, // latents in one, scores in the other
  weights: array<vec2<u32>, ROWS * WEIGHT_STRIDE>, // four of them each
  factors: array<f32, ROWS>,
  blocks: array<u32, HELD_STRIPS>, // of strips to come: looked up in storage, each would be waited for, and with it the tiles on their way
  grown: u32,
}
var<workgroup> memory: Memory;

@section(first)
  let my_token = thread / SPAN;
  let my_vector = thread % SPAN;
  let to = my_token * STRIDE + my_vector;
  let first_block = vectors_before(0u, split, splits);
  let first_mine = min(my_token, end - 1u) * VECTORS + my_vector;
  @unroll(i, LOADS) {
    var ahead_{i} = cache[first_block + first_mine + {i}u * SPAN];
  }
@section(tiles)
  @unroll(i, LOADS) {
    memory.tiles[to + {i}u * SPAN] = ahead_{i};
  }
  var next = min(TOKENS, last);
  let second_block = vectors_before(next, split, splits);
  let second_mine = min(my_token, end - next - 1u) * VECTORS + my_vector;
  @unroll(i, LOADS) {
    ahead_{i} = cache[second_block + second_mine + {i}u * SPAN];
  }
  workgroupBarrier();
  var latents = 0u;
  var scores = TILE;
  for (var first = 0u; first < end; first += TOKENS) {
    @unroll(r, ROW_TILES) {
      @unroll(t, TOKEN_STEPS) {
        var product_{r}_{t} = Sums();
      }
    }
    @unroll(k, WIDTH_STEPS) {
      @unroll(t, TOKEN_STEPS) {
        {
          let keys_at = latents + (token_part * TOKEN_STEPS + {t}u) * 16u * STRIDE + (width_part * WIDTH_STEPS + {k}u) * 2u;
          let keys = subgroupMatrixLoad<Right, col_major>(&memory.tiles, keys_at, STRIDE);
          @unroll(r, ROW_TILES) {
            product_{r}_{t} = subgroupMatrixMultiplyAccumulate(query_{r}_{k}, keys, product_{r}_{t});
          }
        }
      }
    }
    @unroll(r, ROW_TILES) {
      @unroll(t, TOKEN_STEPS) {
        let scores_at_{r}_{t} = ((width_part * ROWS + my_head + {r}u * 16u) * SCORE_STRIDE + (token_part * TOKEN_STEPS + {t}u) * 16u) / 4u;
        subgroupMatrixStore<row_major>(&memory.tiles, scores + scores_at_{r}_{t}, product_{r}_{t}, SCORE_STRIDE / 4u);
      }
    }
    next = min(next + TOKENS, last);
    if (next % (HELD_STRIPS * STRIP_TOKENS) == 0u) {
      workgroupBarrier();
      for (var i = thread; i < HELD_STRIPS; i += THREADS) {
        memory.blocks[i] = tables[table + position_of(split, splits, min(next + i * STRIP_TOKENS, last)) / BLOCK_TOKENS];
      }
    }
    workgroupBarrier();

    // In powers of two.
    var highest = LOWEST;
    var added = 0.0;
    let remaining = end - first;
    // All scores are read before a weight is stored: what is read after a store waits for it (bench/NOTES.md). Odd rows begin half their lanes further on: rows
    // that are read together lie in different banks.
    @unroll(i, QUADS) {
      let quad_{i} = ({i}u * LANES + my_lane + my_row % 2u * (LANES / 2u)) % (QUADS * LANES);
      let score_at_{i} = scores + my_row * SCORE_STRIDE / 4u + quad_{i};
      var score_{i} = bitcast<vec4<f32>>(memory.tiles[score_at_{i}]);
      @unroll(p, OTHER_WIDTH_PARTS) {
        score_{i} += bitcast<vec4<f32>>(memory.tiles[score_at_{i} + ({p}u + 1u) * ROWS * SCORE_STRIDE / 4u]);
      }
      score_{i} = select(vec4(LOWEST), fma(score_{i}, vec4(SCALE), vec4(-reference)), vec4(quad_{i} * 4u) + vec4(0u, 1u, 2u, 3u) < vec4(remaining));
      highest = max(highest, max(max(score_{i}.x, score_{i}.y), max(score_{i}.z, score_{i}.w)));
    }
    @unroll(i, QUADS) {
      let weights_{i} = exp2(score_{i});
      added += (weights_{i}.x + weights_{i}.y) + (weights_{i}.z + weights_{i}.w);
      memory.weights[my_row * WEIGHT_STRIDE + quad_{i}] = vec2(pack2x16float(weights_{i}.xy), pack2x16float(weights_{i}.zw));
    }
    let begins = first == 0u;
    if (begins || highest > MARGIN) {
      memory.grown = 1u;
    }
    if (workgroupUniformLoad(&memory.grown) != 0u) {
      @fill(reference_shift)
      @unroll(i, QUADS) {
        let moved_{i} = exp2(score_{i} - vec4(shift));
        added += (moved_{i}.x + moved_{i}.y) + (moved_{i}.z + moved_{i}.w);
        memory.weights[my_row * WEIGHT_STRIDE + quad_{i}] = vec2(pack2x16float(moved_{i}.xy), pack2x16float(moved_{i}.zw));
      }
      workgroupBarrier();
      if (!begins) {
        let scratch = scores + subgroup * 64u;
        @unroll(r, ROW_TILES) {
          @unroll(c, COLUMN_STEPS) {
            subgroupMatrixStore<row_major>(&memory.tiles, scratch, sums_{r}_{c}, 4u);
            workgroupBarrier();
            for (var j = lane; j < 64u; j += 32u) {
              let sums = bitcast<vec4<f32>>(memory.tiles[scratch + j]);
              memory.tiles[scratch + j] = bitcast<vec4<u32>>(sums * memory.factors[my_head + {r}u * 16u + j / 4u]);
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
    }
    total += added;
    @unroll(i, LOADS) {
      memory.tiles[scores + to + {i}u * SPAN] = ahead_{i};
    }
    // The block is looked up after that: what is read from workgroup memory does not overtake what is stored there. Latents that are asked for before the last
    // ones are stored need registers of their own, and are waited for to be moved to these (bench/NOTES.md).
    let next_block = vectors_before(next, split, splits);
    @unroll(t, TOKEN_TILES) {
      @unroll(r, ROW_TILES) {
        let weights_{r}_{t} = subgroupMatrixLoad<Left, row_major>(&memory.weights, (my_head + {r}u * 16u) * WEIGHT_STRIDE + {t}u * 4u, WEIGHT_STRIDE);
      }
    }
    @unroll(t, TOKEN_TILES) {
      @unroll(c, COLUMN_STEPS) {
        let values_at_{t}_{c} = latents + {t}u * 16u * STRIDE + VALUE_OFFSET / 8u + (part + {c}u * COLUMN_PARTS) * 2u;
        let values_{t}_{c} = subgroupMatrixLoad<Right, row_major>(&memory.tiles, values_at_{t}_{c}, STRIDE);
      }
    }
    @unroll(c, COLUMN_STEPS) {
      @unroll(r, ROW_TILES) {
        sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(weights_{r}_0, values_0_{c}, sums_{r}_{c});
      }
    }
    // Here rather than before the products, though the driver moves it there: a tile has fewer instructions for it, and 2 % less time (bench/NOTES.md).
    let next_mine = min(my_token, end - next - 1u) * VECTORS + my_vector;
    @unroll(i, LOADS) {
      ahead_{i} = cache[next_block + next_mine + {i}u * SPAN];
    }
    @unroll(c, COLUMN_STEPS) {
      @unroll(r, ROW_TILES) {
        sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(weights_{r}_1, values_1_{c}, sums_{r}_{c});
      }
    }
    workgroupBarrier();
    let stored = scores;
    scores = latents;
    latents = stored;
  }


