// Scores of cached keys with the queries of ROWS rows of one sequence, which share each tile of TOKENS keys, on matrix units. A subgroup has a row: it keeps the queries of
// all heads. While it multiplies a tile, it sums what is positive of the products of the tile before.
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [row, head, column]
@group(0) @binding(2) var<storage, read> weights: array<f32>; // [row, head]
// Never written: what is read ahead would else be read where it is first used. Eight values in f16 each, or sixteen bytes.
@group(0) @binding(3) var<storage, read_write> cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(6) var<storage, read_write> scores: array<f32>; // [row of this run, position]

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const EIGHTS = WIDTH / 8u;
// Of 16 bytes, as all that follows; odd, so that rows lie in different banks.
const KEY_STRIDE = EIGHTS | 1u;
const FOURS = TOKENS / 4u;
// Threads of a subgroup that have the same four keys, each of them other heads.
const LANES = 32u / FOURS;
const THREADS = ROWS * 32u;

var<workgroup> tiles: array<vec4<u32>, TOKENS * KEY_STRIDE>; // keys
var<workgroup> products: array<vec4<u32>, ROWS * max(HEADS * FOURS, 16u * KEY_STRIDE)>; // of each row; before the first tile, queries of 16 heads
var<workgroup> blocks: array<u32, HELD_BLOCKS>;

@fill(functions)
@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  // Rows beyond the last are that one, and not written. The last one sees most.
  let last_row = params.first_row + min(group.y * ROWS + ROWS - 1u, params.rows - 1u);
  let score_row = group.y * ROWS + subgroup;
  let row = params.first_row + min(score_row, params.rows - 1u);
  let context = step[last_row].y + 1u;
  let table = step[last_row].w;
  // Every workgroup of these rows has as many blocks.
  let strip = ((context + BLOCK_TOKENS - 1u) / BLOCK_TOKENS + groups.x - 1u) / groups.x * BLOCK_TOKENS;
  let begin = group.x * strip;
  let end = min(context, begin + strip);
  if (begin >= context) {
    return;
  }
  let thread = subgroup * 32u + lane;
  for (var i = thread; i < strip / BLOCK_TOKENS; i += THREADS) {
    blocks[i] = tables[table + min(begin / BLOCK_TOKENS + i, (end - 1u) / BLOCK_TOKENS)] * BLOCK_TOKENS;
  }
  workgroupBarrier();
  // Beyond the last key it is read again, and its score not written.
  let limit = end - 1u;
  let own_end = select(0u, min(end, step[row].y + 1u), score_row < params.rows);
  var tile = begin;
  @unroll(l, LOADS) {
    var ahead_{l}: vec4<u32>;
  }
  {
    let vector = (blocks[(tile - begin) / BLOCK_TOKENS] + tile % BLOCK_TOKENS) * SLOT_VECTORS;
    @unroll(l, LOADS) {
      ahead_{l} = cache[vector + min(({l}u * THREADS + thread) / KEY_VECTORS, limit - tile) * SLOT_VECTORS + ({l}u * THREADS + thread) % KEY_VECTORS];
    }
  }
  let own = subgroup * max(HEADS * FOURS, 16u * KEY_STRIDE);
  @unroll(r, ROW_TILES) {
    for (var at = lane; at < 16u * EIGHTS; at += 32u) {
      let query_at = ((row * HEADS + {r}u * 16u + at / EIGHTS) * EIGHTS + at % EIGHTS) * 2u;
      products[own + at / EIGHTS * KEY_STRIDE + at % EIGHTS] = halves(q[query_at], q[query_at + 1u]);
    }
    workgroupBarrier();
    @unroll(k, STEPS) {
      let query_{r}_{k} = subgroupMatrixLoad<Left, row_major>(&products, own + {k}u * 2u, KEY_STRIDE);
    }
    workgroupBarrier();
  }
  let four = lane % FOURS;
  let part = lane / FOURS;
  @unroll(h, LANE_HEADS) {
    let weight_{h} = weights[row * HEADS + part + {h}u * LANES];
  }
  @unroll(l, LOADS) {
@fill(put)
  }
  tile = min(begin + TOKENS, limit);
  {
    let vector = (blocks[(tile - begin) / BLOCK_TOKENS] + tile % BLOCK_TOKENS) * SLOT_VECTORS;
    @unroll(l, LOADS) {
      ahead_{l} = cache[vector + min(({l}u * THREADS + thread) / KEY_VECTORS, limit - tile) * SLOT_VECTORS + ({l}u * THREADS + thread) % KEY_VECTORS];
    }
  }
  workgroupBarrier();
  // Once more than there are tiles: sums of the last one are still to be made.
  for (var at = begin; at < end + TOKENS; at += TOKENS) {
    @unroll(r, ROW_TILES) {
      var product_{r} = Sums();
    }
    @unroll(k, STEPS) {
      {
        let keys = subgroupMatrixLoad<Right, col_major>(&tiles, {k}u * 2u, KEY_STRIDE);
        @unroll(r, ROW_TILES) {
          product_{r} = subgroupMatrixMultiplyAccumulate(query_{r}_{k}, keys, product_{r});
        }
      }
    }
    {
      // Before the first tile, of whatever is there.
      let first = at - TOKENS;
      var sum = vec4(0.0);
      @unroll(h, LANE_HEADS) {
        sum = fma(vec4(weight_{h}), max(bitcast<vec4<f32>>(products[own + (part + {h}u * LANES) * FOURS + four]), vec4(0.0)), sum);
      }
      for (var distance = FOURS; distance < 32u; distance *= 2u) {
        sum += subgroupShuffleXor(sum, distance);
      }
      let key = first + four * 4u + part;
      let score = sum[part % 4u];
@fill(scale)
      if (at > begin && part < 4u && key < own_end) {
@fill(write)
      }
    }
    workgroupBarrier();
    @unroll(r, ROW_TILES) {
      subgroupMatrixStore<row_major>(&products, own + {r}u * 16u * FOURS, product_{r}, FOURS);
    }
    @unroll(l, LOADS) {
@fill(put)
    }
    tile = min(at + 2u * TOKENS, limit);
  {
    let vector = (blocks[(tile - begin) / BLOCK_TOKENS] + tile % BLOCK_TOKENS) * SLOT_VECTORS;
    @unroll(l, LOADS) {
      ahead_{l} = cache[vector + min(({l}u * THREADS + thread) / KEY_VECTORS, limit - tile) * SLOT_VECTORS + ({l}u * THREADS + thread) % KEY_VECTORS];
    }
  }
    workgroupBarrier();
  }
}
