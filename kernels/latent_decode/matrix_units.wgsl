// Absorbed attention on matrix units: ROWS heads of one row over one split of its sequence, TOKENS latents at a time.
//
// A tile of latents is a key tile and a value tile at once: it is read from memory once, into workgroup memory, the next ones being under way in registers
// meanwhile. Subgroups divide the tile's tokens and columns for the scores, and the value columns for the sums. Weights are relative to a reference that
// follows the largest score only when it has grown by more than MARGIN, since moving it means passing the sums through workgroup memory.
@group(0) @binding(1) var<storage, read> queries: array<vec4<u32>>; // [row, head, column], laid out as latents are
@group(0) @binding(2) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const LOWEST = -3.0e38;
const MARGIN = 8.0;
const ROWS = HEAD_TILES * 16u;
const SUBGROUPS = HEAD_TILES * TOKEN_PARTS * WIDTH_PARTS;
const THREADS = SUBGROUPS * 32u;
const VECTORS = CACHE_WIDTH / 8u;
const STRIDE = CACHE_WIDTH + 8u; // eight more than a multiple of sixteen, so that rows lie in different banks
const COLUMN_TILES = VALUE_WIDTH / 16u;
const COLUMN_PARTS = TOKEN_PARTS * WIDTH_PARTS;
const SCORE_STRIDE = TOKENS + SCORE_PADDING;
const SCORES = max(WIDTH_PARTS * ROWS * SCORE_STRIDE, SUBGROUPS * 256u);
const WEIGHT_STRIDE = TOKENS + 8u;
const WHOLE_TILES = HEADS % 16u == 0u;

const SCORES_AT = TOKENS * STRIDE * 2u;
const WEIGHTS_AT = SCORES_AT + SCORES * 4u;
const SHRINKS_AT = WEIGHTS_AT + ROWS * WEIGHT_STRIDE * 2u;
const BYTES = SHRINKS_AT + ROWS * 4u;

// One block, so that every part of it is aligned to 16 bytes: loads of matrices round addresses down to that.
var<workgroup> memory: buffer<BYTES>;
// A vector, so that it cannot push the block off its alignment.
var<workgroup> grown: vec4<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let split = group.x;
  let first_head = group.y * ROWS;
  let row = group.z;
  let context = step[row].y + 1u;
  let table = step[row].w;
  let begin = split * split_tokens(context);
  if (begin >= context) {
    return;
  }
  let end = min(context, begin + split_tokens(context));
  let thread = subgroup * 32u + lane;
  let head_tile = subgroup % HEAD_TILES;
  let part = subgroup / HEAD_TILES;
  let token_part = part % TOKEN_PARTS;
  let width_part = part / TOKEN_PARTS;
  let scratch = subgroup * 256u;

  let tile = bufferView<array<f16>>(&memory, 0u);
  let tile_vectors = bufferView<array<vec4<u32>>>(&memory, 0u);
  let scores = bufferView<array<f32>>(&memory, SCORES_AT);
  let weights = bufferView<array<f16>>(&memory, WEIGHTS_AT);
  let shrinks = bufferView<array<f32>>(&memory, SHRINKS_AT);

  // By way of workgroup memory, where they are gone afterwards: no driver can load them again for every tile. Heads beyond the last are whatever follows there; what becomes of
  // them is not written.
  @unroll(k, WIDTH_STEPS) {
    var query_{k}: Left;
  }
  @unroll(h, HEAD_TILES) {
    for (var i = thread; i < 16u * VECTORS; i += THREADS) {
      tile_vectors[(i / VECTORS) * (STRIDE / 8u) + i % VECTORS] = queries[(row * HEADS + first_head + {h}u * 16u) * VECTORS + i];
    }
    workgroupBarrier();
    if (head_tile == {h}u) {
      @unroll(k, WIDTH_STEPS) {
        query_{k} = subgroupMatrixLoad<Left, row_major>(tile, (width_part * WIDTH_STEPS + {k}u) * 16u, STRIDE);
      }
    }
    workgroupBarrier();
  }
  if (thread == 0u) {
    grown.x = 0u;
  }

  // LANES threads share a head.
  let my_row = thread / LANES;
  let my_lane = thread % LANES;
  var reference = LOWEST;
  var total = 0.0;
  @unroll(c, COLUMN_STEPS) {
    var sums_{c}: Sums;
  }
  // Loads are never made under a condition: what is chosen from the result of a load waits for it. Beyond the end the last latent is read again, and
  // weighed with zero; beyond the last tile, the last tile.
  let last = begin + (end - 1u - begin) / TOKENS * TOKENS;
  // Each lane holds an entry of the block table: looking one up in memory would make the tile's loads wait for it.
  var held = begin / BLOCK_TOKENS;
  var blocks = tables[table + min(held + lane, last / BLOCK_TOKENS)];
  @unroll(s, AHEAD) {
    let first_{s} = min(begin + {s}u * TOKENS, last);
    let base_{s} = (subgroupShuffle(blocks, first_{s} / BLOCK_TOKENS - held) * BLOCK_TOKENS + first_{s} % BLOCK_TOKENS) * VECTORS;
    let limit_{s} = min(TOKENS, end - first_{s}) * VECTORS - 1u;
    @unroll(i, LOADS) {
      var ahead_{s}_{i} = cache[base_{s} + min({i}u * THREADS + thread, limit_{s})];
    }
  }
  for (var round = begin; round < end; round += AHEAD * TOKENS) {
    @unroll(s, AHEAD) {
      {
        let first = round + {s}u * TOKENS;
        if (first >= end) {
          break;
        }
        @unroll(i, LOADS) {
          if (LOADS * THREADS == TOKENS * VECTORS || {i}u * THREADS + thread < TOKENS * VECTORS) {
            tile_vectors[(({i}u * THREADS + thread) / VECTORS) * (STRIDE / 8u) + ({i}u * THREADS + thread) % VECTORS] = ahead_{s}_{i};
          }
        }
        workgroupBarrier();
        let next = min(first + AHEAD * TOKENS, last);
        if (next / BLOCK_TOKENS >= held + 32u) {
          held += 32u;
          blocks = tables[table + min(held + lane, last / BLOCK_TOKENS)];
        }
        let base = (subgroupShuffle(blocks, next / BLOCK_TOKENS - held) * BLOCK_TOKENS + next % BLOCK_TOKENS) * VECTORS;
        let limit = min(TOKENS, end - next) * VECTORS - 1u;
        @unroll(i, LOADS) {
          ahead_{s}_{i} = cache[base + min({i}u * THREADS + thread, limit)];
        }
        @unroll(t, TOKEN_STEPS) {
          var product_{t} = Sums();
        }
        @unroll(k, WIDTH_STEPS) {
          @unroll(t, TOKEN_STEPS) {
            product_{t} = subgroupMatrixMultiplyAccumulate(query_{k}, subgroupMatrixLoad<Right, col_major>(tile, ((token_part * TOKEN_STEPS + {t}u) * 16u) * STRIDE + (width_part * WIDTH_STEPS + {k}u) * 16u, STRIDE), product_{t});
          }
        }
        @unroll(t, TOKEN_STEPS) {
          subgroupMatrixStore<row_major>(scores, (width_part * ROWS + head_tile * 16u) * SCORE_STRIDE + (token_part * TOKEN_STEPS + {t}u) * 16u, product_{t}, SCORE_STRIDE);
        }
        workgroupBarrier();

        var largest = LOWEST;
        @unroll(i, EACH) {
          let column_{i} = {i}u * LANES + my_lane;
          var score_{i} = scores[my_row * SCORE_STRIDE + column_{i}];
          @unroll(p, OTHER_WIDTH_PARTS) {
            score_{i} += scores[(({p}u + 1u) * ROWS + my_row) * SCORE_STRIDE + column_{i}];
          }
          score_{i} = select(LOWEST, score_{i} * SCALE, first + column_{i} < end);
          largest = max(largest, score_{i});
        }
        for (var distance = 1u; distance < LANES; distance *= 2u) {
          largest = max(largest, subgroupShuffleXor(largest, distance));
        }
        var shrink = 1.0;
        if (largest > reference + MARGIN) {
          shrink = exp(reference - largest);
          reference = largest;
          total *= shrink;
          grown.x = 1u;
        }
        if (my_lane == 0u) {
          shrinks[my_row] = shrink;
        }
        @unroll(i, EACH) {
          let weight_{i} = f16(exp(score_{i} - reference));
          total += f32(weight_{i});
          weights[my_row * WEIGHT_STRIDE + column_{i}] = weight_{i};
        }
        if (workgroupUniformLoad(&grown).x != 0u) {
          if (first > begin) {
            @unroll(c, COLUMN_STEPS) {
              subgroupMatrixStore<row_major>(scores, scratch, sums_{c}, 16u);
              workgroupBarrier();
              for (var j = lane; j < 256u; j += 32u) {
                scores[scratch + j] *= shrinks[head_tile * 16u + j / 16u];
              }
              workgroupBarrier();
              sums_{c} = subgroupMatrixLoad<Sums, row_major>(scores, scratch, 16u);
              workgroupBarrier();
            }
          }
          workgroupBarrier();
          if (thread == 0u) {
            grown.x = 0u;
          }
        }
        @unroll(t, TOKEN_TILES) {
          let weights_{t} = subgroupMatrixLoad<Left, row_major>(weights, head_tile * 16u * WEIGHT_STRIDE + {t}u * 16u, WEIGHT_STRIDE);
          @unroll(c, COLUMN_STEPS) {
            if (part + {c}u * COLUMN_PARTS < COLUMN_TILES) {
              sums_{c} = subgroupMatrixMultiplyAccumulate(weights_{t}, subgroupMatrixLoad<Right, row_major>(tile, ({t}u * 16u) * STRIDE + VALUE_OFFSET + (part + {c}u * COLUMN_PARTS) * 16u, STRIDE), sums_{c});
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
    partial[to] = reference;
    partial[to + 1u] = total;
  }
  let to = ((row * HEADS + first_head + head_tile * 16u) * MOST_SPLITS + split) * PARTIAL_WIDTH;
  @unroll(c, COLUMN_STEPS) {
    let column_of_{c} = (part + {c}u * COLUMN_PARTS) * 16u;
    if (WHOLE_TILES) {
      if (column_of_{c} < VALUE_WIDTH && first_head + head_tile * 16u < HEADS) {
        subgroupMatrixStore<row_major>(&partial, to + column_of_{c}, sums_{c}, MOST_SPLITS * PARTIAL_WIDTH);
      }
    } else {
      subgroupMatrixStore<row_major>(scores, scratch, sums_{c}, 16u);
      workgroupBarrier();
      if (column_of_{c} < VALUE_WIDTH) {
        for (var j = lane; j < 256u; j += 32u) {
          if (first_head + head_tile * 16u + j / 16u < HEADS) {
            partial[to + j / 16u * MOST_SPLITS * PARTIAL_WIDTH + column_of_{c} + j % 16u] = scores[scratch + j];
          }
        }
      }
      workgroupBarrier();
    }
  }
}
