// Absorbed attention on matrix units: ROWS heads of one row over one split of its sequence, TOKENS latents at a time.
//
// A tile of latents is a key tile and a value tile at once: it is read from memory once, into workgroup memory, the next ones being under way in registers
// meanwhile. Subgroups divide the tile's tokens and columns for the scores, and the value columns for the sums. Weights are relative to a reference, the
// first tile's largest score, that moves only when a score exceeds it by MARGIN, since moving it means passing the sums through workgroup memory. So weights
// are computed at once; whether they had to be relative to something else is found out beside.
@group(0) @binding(1) var<storage, read> queries: array<vec4<u32>>; // [row, head, column], laid out as latents are
// Never written. If the driver knew, it would read the next tile where it is first used, behind everything that is to hide its way (bench/NOTES.md).
@group(0) @binding(2) var<storage, read_write> cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const LOWEST = -3.0e38;
// In powers of two; f16 holds weights up to 2^16. A reference above the largest score would move less often, but take its bits from the weights of all the
// others where one token, often the first, draws most of the attention and has next to no values.
const MARGIN = 15.0;
const ROWS = HEAD_PARTS * ROW_TILES * 16u;
const SUBGROUPS = HEAD_PARTS * TOKEN_PARTS * WIDTH_PARTS;
const THREADS = SUBGROUPS * 32u;
const VECTORS = CACHE_WIDTH / 8u;
const STRIDE = VECTORS + 1u; // odd, so that rows lie in different banks
const COLUMN_TILES = VALUE_WIDTH / 16u;
const COLUMN_PARTS = TOKEN_PARTS * WIDTH_PARTS;
const SCORE_STRIDE = TOKENS + SCORE_PADDING;
const WEIGHT_STRIDE = TOKENS / 2u + 4u;
const WHOLE_TILES = HEADS % 16u == 0u;

// Matrices begin at multiples of 16 bytes: their loads round addresses down to that.
struct Memory {
  tile: array<vec4<u32>, TOKENS * STRIDE>, // latents
  scores: array<f32, max(WIDTH_PARTS * ROWS * SCORE_STRIDE, SUBGROUPS * 256u)>,
  weights: array<u32, ROWS * WEIGHT_STRIDE>, // two of them each
  shrinks: array<f32, ROWS>,
  blocks: array<u32, HELD_STRIPS>, // of strips to come: looked up in storage, each would be waited for, and with it the tiles on their way
  grown: u32,
}
var<workgroup> memory: Memory;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let split = group.x;
  let first_head = group.y * ROWS;
  let row = group.z;
  let context = step[row].y + 1u;
  let table = step[row].w;
  let splits = split_count(context);
  if (split >= splits) {
    return;
  }
  // Tokens of this split are counted from 0 to `end`, whatever positions they are at.
  let end = split_tokens(split, splits, context);
  let thread = subgroup * 32u + lane;
  let my_head = subgroup % HEAD_PARTS * ROW_TILES * 16u;
  let part = subgroup / HEAD_PARTS;
  let token_part = part % TOKEN_PARTS;
  let width_part = part / TOKEN_PARTS;
  let scratch = subgroup * 256u;

  // Everything that can be is on its way at once. Heads beyond the last are whatever follows there; what becomes of them is not written.
  @unroll(h, HEAD_PARTS) {
    @unroll(r, ROW_TILES) {
      let queries_{h}_{r} = (row * HEADS + first_head + ({h}u * ROW_TILES + {r}u) * 16u) * VECTORS;
      @unroll(i, QUERY_LOADS) {
        let staged_{h}_{r}_{i} = queries[queries_{h}_{r} + min({i}u * THREADS + thread, 16u * VECTORS - 1u)];
      }
    }
  }

  if (thread == 0u) {
    memory.grown = 0u;
  }

  // LANES threads share a head.
  let my_row = thread / LANES;
  let my_lane = thread % LANES;
  var reference = 0.0;
  var total = 0.0;
  @unroll(r, ROW_TILES) {
    @unroll(c, COLUMN_STEPS) {
      var sums_{r}_{c}: Sums;
    }
  }
  // Loads are never made under a condition: what is chosen from the result of a load waits for it. Beyond the end the last latent is read again, and
  // weighed with zero; beyond the last tile, the last tile.
  let last = (end - 1u) / TOKENS * TOKENS;
  for (var i = thread; i < HELD_STRIPS; i += THREADS) {
    memory.blocks[i] = tables[table + position_of(split, splits, min(i * STRIP_TOKENS, last)) / BLOCK_TOKENS];
  }
  workgroupBarrier();
  @unroll(i, LOADS) {
    let to_{i} = ({i}u * THREADS + thread) / VECTORS * STRIDE + ({i}u * THREADS + thread) % VECTORS;
  }
  @unroll(s, AHEAD) {
    let first_{s} = min({s}u * TOKENS, last);
    let base_{s} = (memory.blocks[first_{s} / STRIP_TOKENS] * BLOCK_TOKENS + position_of(split, splits, first_{s}) % BLOCK_TOKENS) * VECTORS;
    let limit_{s} = min(TOKENS, end - first_{s}) * VECTORS - 1u;
    @unroll(i, LOADS) {
      var ahead_{s}_{i} = cache[base_{s} + min({i}u * THREADS + thread, limit_{s})];
    }
  }
  // Queries go by way of workgroup memory, where they are gone afterwards: no driver can load them again for every tile.
  @unroll(r, ROW_TILES) {
    @unroll(k, WIDTH_STEPS) {
      var query_{r}_{k}: Left;
    }
  }
  @unroll(h, HEAD_PARTS) {
    @unroll(r, ROW_TILES) {
      @unroll(i, QUERY_LOADS) {
        if ({i}u * THREADS + thread < 16u * VECTORS) {
          memory.tile[({i}u * THREADS + thread) / VECTORS * STRIDE + ({i}u * THREADS + thread) % VECTORS] = staged_{h}_{r}_{i};
        }
      }
      workgroupBarrier();
      if (subgroup % HEAD_PARTS == {h}u) {
        @unroll(k, WIDTH_STEPS) {
          query_{r}_{k} = subgroupMatrixLoad<Left, row_major>(&memory.tile, (width_part * WIDTH_STEPS + {k}u) * 2u, STRIDE);
        }
      }
      workgroupBarrier();
    }
  }
  for (var round = 0u; round < end; round += AHEAD * TOKENS) {
    @unroll(s, AHEAD) {
      {
        let first = round + {s}u * TOKENS;
        if (first >= end) {
          break;
        }
        @unroll(i, LOADS) {
          if (LOADS * THREADS == TOKENS * VECTORS || {i}u * THREADS + thread < TOKENS * VECTORS) {
            memory.tile[to_{i}] = ahead_{s}_{i};
          }
        }
        workgroupBarrier();
        let next = min(first + AHEAD * TOKENS, last);
        if (next % (HELD_STRIPS * STRIP_TOKENS) == 0u) {
          for (var i = thread; i < HELD_STRIPS; i += THREADS) {
            memory.blocks[i] = tables[table + position_of(split, splits, min(next + i * STRIP_TOKENS, last)) / BLOCK_TOKENS];
          }
          workgroupBarrier();
        }
        let base = (memory.blocks[next / STRIP_TOKENS % HELD_STRIPS] * BLOCK_TOKENS + position_of(split, splits, next) % BLOCK_TOKENS) * VECTORS;
        let limit = min(TOKENS, end - next) * VECTORS - 1u;
        @unroll(i, LOADS) {
          ahead_{s}_{i} = cache[base + min({i}u * THREADS + thread, limit)];
        }
        @unroll(r, ROW_TILES) {
          @unroll(t, TOKEN_STEPS) {
            var product_{r}_{t} = Sums();
          }
        }
        @unroll(k, WIDTH_STEPS) {
          @unroll(t, TOKEN_STEPS) {
            {
              let keys_at = (token_part * TOKEN_STEPS + {t}u) * 16u * STRIDE + (width_part * WIDTH_STEPS + {k}u) * 2u;
              let keys = subgroupMatrixLoad<Right, col_major>(&memory.tile, keys_at, STRIDE);
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
        var highest = LOWEST;
        var added = 0.0;
        let remaining = end - first;
        // All scores are read before a weight is stored: what is read after a store waits for it (bench/NOTES.md).
        @unroll(i, PAIRS) {
          let pair_{i} = {i}u * LANES + my_lane;
          @unroll(e, 2) {
            var score_{i}_{e} = memory.scores[my_row * SCORE_STRIDE + pair_{i} * 2u + {e}u];
            @unroll(p, OTHER_WIDTH_PARTS) {
              score_{i}_{e} += memory.scores[(({p}u + 1u) * ROWS + my_row) * SCORE_STRIDE + pair_{i} * 2u + {e}u];
            }
            score_{i}_{e} = select(LOWEST, fma(score_{i}_{e}, SCALE, -reference), pair_{i} * 2u + {e}u < remaining);
            highest = max(highest, score_{i}_{e});
          }
        }
        @unroll(i, PAIRS) {
          let weights_{i} = vec2(exp2(score_{i}_0), exp2(score_{i}_1));
          added += weights_{i}.x + weights_{i}.y;
          memory.weights[my_row * WEIGHT_STRIDE + pair_{i}] = pack2x16float(weights_{i});
        }
        if (first == 0u || highest > MARGIN) {
          memory.grown = 1u;
        }
        if (workgroupUniformLoad(&memory.grown) != 0u) {
          for (var distance = 1u; distance < LANES; distance *= 2u) {
            highest = max(highest, subgroupShuffleXor(highest, distance));
          }
          let shift = select(0.0, highest, first == 0u || highest > MARGIN);
          // What is relative to no score yet is zero, and may be scaled by anything finite.
          let shrink = select(exp2(-shift), 1.0, first == 0u);
          reference += shift;
          total *= shrink;
          if (my_lane == 0u) {
            memory.shrinks[my_row] = shrink;
          }
          added = 0.0;
          @unroll(i, PAIRS) {
            let moved_{i} = vec2(exp2(score_{i}_0 - shift), exp2(score_{i}_1 - shift));
            added += moved_{i}.x + moved_{i}.y;
            memory.weights[my_row * WEIGHT_STRIDE + pair_{i}] = pack2x16float(moved_{i});
          }
          workgroupBarrier();
          if (first > 0u) {
            @unroll(r, ROW_TILES) {
              @unroll(c, COLUMN_STEPS) {
                subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{r}_{c}, 16u);
                workgroupBarrier();
                for (var j = lane; j < 256u; j += 32u) {
                  memory.scores[scratch + j] *= memory.shrinks[my_head + {r}u * 16u + j / 16u];
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
        }
        total += added;
        @unroll(t, TOKEN_TILES) {
          @unroll(r, ROW_TILES) {
            let weights_{r}_{t} = subgroupMatrixLoad<Left, row_major>(&memory.weights, (my_head + {r}u * 16u) * WEIGHT_STRIDE + {t}u * 8u, WEIGHT_STRIDE);
          }
          @unroll(c, COLUMN_STEPS) {
            if (COLUMN_STEPS * COLUMN_PARTS == COLUMN_TILES || part + {c}u * COLUMN_PARTS < COLUMN_TILES) {
              let values_at = {t}u * 16u * STRIDE + VALUE_OFFSET / 8u + (part + {c}u * COLUMN_PARTS) * 2u;
              let values = subgroupMatrixLoad<Right, row_major>(&memory.tile, values_at, STRIDE);
              @unroll(r, ROW_TILES) {
                sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(weights_{r}_{t}, values, sums_{r}_{c});
              }
            }
          }
        }
        workgroupBarrier();
      }
    }
  }

  for (var distance = 1u; distance < LANES; distance *= 2u) {
    total += subgroupShuffleXor(total, distance);
  }
  if (my_lane == 0u && first_head + my_row < HEADS) {
    let to = ((row * HEADS + first_head + my_row) * MOST_SPLITS + split) * PARTIAL_WIDTH + VALUE_WIDTH;
    partial[to] = reference * LN_2;
    partial[to + 1u] = total;
  }
  @unroll(r, ROW_TILES) {
    let head_{r} = first_head + my_head + {r}u * 16u;
    let sums_to_{r} = ((row * HEADS + head_{r}) * MOST_SPLITS + split) * PARTIAL_WIDTH;
    @unroll(c, COLUMN_STEPS) {
      let column_{r}_{c} = (part + {c}u * COLUMN_PARTS) * 16u;
      if (WHOLE_TILES) {
        if (column_{r}_{c} < VALUE_WIDTH && head_{r} < HEADS) {
          subgroupMatrixStore<row_major>(&partial, sums_to_{r} + column_{r}_{c}, sums_{r}_{c}, MOST_SPLITS * PARTIAL_WIDTH);
        }
      } else {
        subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{r}_{c}, 16u);
        workgroupBarrier();
        if (column_{r}_{c} < VALUE_WIDTH) {
          for (var j = lane; j < 256u; j += 32u) {
            if (head_{r} + j / 16u < HEADS) {
              partial[sums_to_{r} + j / 16u * MOST_SPLITS * PARTIAL_WIDTH + column_{r}_{c} + j % 16u] = memory.scores[scratch + j];
            }
          }
        }
        workgroupBarrier();
      }
    }
  }
}
