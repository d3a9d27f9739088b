// Absorbed attention on matrix units: ROWS heads of one row over one split of its sequence, TOKENS latents at a time.
//
// A tile of latents is a key tile and a value tile at once: it is read from memory once, into workgroup memory, the next ones being under way in registers
// meanwhile. What is where in workgroup memory, and when, is up to tiles_apart.wgsl and tiles_in_turn.wgsl, one of which fills the gaps. Subgroups divide
// the tile's tokens and columns for the scores, and the value columns for the sums. Weights are relative to a reference, the first tile's largest score, that
// moves only when a score exceeds it by MARGIN, since moving it means passing the sums through workgroup memory. So weights are computed at once; whether they
// had to be relative to something else is found out beside.
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

@fill(memory)
@fill(slots)
// Vectors of the cache before the latent of a split's token, whose block is at hand.
fn vectors_before(token: u32, split: u32, splits: u32) -> u32 {
  let slot = memory.blocks[token / STRIP_TOKENS % HELD_STRIPS] * BLOCK_TOKENS + position_of(split, splits, token) % BLOCK_TOKENS;
  return slot * SLOT_VECTORS;
}

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
@fill(first)
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
          memory.tiles[({i}u * THREADS + thread) / VECTORS * STRIDE + ({i}u * THREADS + thread) % VECTORS] = staged_{h}_{r}_{i};
        }
      }
      workgroupBarrier();
      if (subgroup % HEAD_PARTS == {h}u) {
        @unroll(k, WIDTH_STEPS) {
          query_{r}_{k} = subgroupMatrixLoad<Left, row_major>(&memory.tiles, (width_part * WIDTH_STEPS + {k}u) * 2u, STRIDE);
        }
      }
      workgroupBarrier();
    }
  }
@fill(tiles)
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
      // One of these is left out; the second needs scores in a place of their own.
      @unroll(whole, WHOLE_TILES) {
        if (column_{r}_{c} < VALUE_WIDTH && head_{r} < HEADS) {
          subgroupMatrixStore<row_major>(&partial, sums_to_{r} + column_{r}_{c}, sums_{r}_{c}, MOST_SPLITS * PARTIAL_WIDTH);
        }
      }
      @unroll(ragged, RAGGED_TILES) {
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
