// Scores of cached keys with the queries of ROWS rows of one sequence, which share each tile of TOKENS keys, on matrix units. A subgroup has a row: it keeps the queries of
// all heads. Beside the products of a tile it sums what is positive of those of the tile before.
@fill(layout)
const THREADS = ROWS * 32u;
const OWN = max(TOKENS * PRODUCT_STRIDE, 16u * KEY_STRIDE);

var<workgroup> tiles: array<vec4<u32>, TOKENS * KEY_STRIDE>; // keys
var<workgroup> products: array<vec4<u32>, ROWS * OWN>; // of each row; before the first tile, queries of 16 heads
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
@fill(strip)
  let own_end = select(0u, min(end, step[row].y + 1u), score_row < params.rows);
  let first_vector = blocks[0] * SLOT_VECTORS;
  @unroll(l, LOADS) {
    let my_token_{l} = ({l}u * THREADS + thread) / KEY_VECTORS;
    let my_vector_{l} = ({l}u * THREADS + thread) % KEY_VECTORS;
    var ahead_{l} = cache[first_vector + min(my_token_{l}, limit - begin) * SLOT_VECTORS + my_vector_{l}];
  }
  let own = subgroup * OWN;
  @unroll(r, ROW_TILES) {
    for (var at = lane; at < 16u * EIGHTS; at += 32u) {
      let query_at = ((row * HEADS + {r}u * 16u + at / EIGHTS) * EIGHTS + at % EIGHTS) * 2u;
      products[own + at / EIGHTS * KEY_STRIDE + at % EIGHTS] = halves(q[query_at], q[query_at + 1u]);
    }
    workgroupBarrier();
    @unroll(k, STEPS) {
      let query_{r}_{k} = subgroupMatrixLoad<Right, col_major>(&products, own + {k}u * 2u, KEY_STRIDE);
    }
    workgroupBarrier();
  }
  let part = lane % PARTS;
  let my_key = key_of(lane);
  let products_at = own + lane / PARTS * PRODUCT_STRIDE + part;
  @unroll(h, QUAD_STEPS) {
    let weight_{h} = weights[row * (HEADS / 4u) + {h}u * PARTS + part];
  }
  @unroll(l, LOADS) {
@fill(put)
  }
  workgroupBarrier();
  // Once more than there are tiles: sums of the last one are still to be made.
  for (var at = begin; at < end + TOKENS; at += TOKENS) {
    // The next tile has all products to come in. It is looked up before anything is stored: what is read behind that waits for it.
    let tile = min(at + TOKENS, limit);
    let vector = (blocks[(tile - begin) / BLOCK_TOKENS] + tile % BLOCK_TOKENS) * SLOT_VECTORS;
    @unroll(l, LOADS) {
      ahead_{l} = cache[vector + min(my_token_{l}, limit - tile) * SLOT_VECTORS + my_vector_{l}];
    }
    {
      // Before the first tile, of whatever is there.
      let first = at - TOKENS;
@fill(sum)
      let key = first + my_key;
      let score = sum;
@fill(scale)
      if (at > begin && part < KEYS_EACH && key < own_end) {
@fill(write)
      }
    }
    @unroll(r, ROW_TILES) {
      var product_{r} = Sums();
    }
    @unroll(k, STEPS) {
      {
        let keys = subgroupMatrixLoad<Left, row_major>(&tiles, {k}u * 2u, KEY_STRIDE);
        @unroll(r, ROW_TILES) {
          product_{r} = subgroupMatrixMultiplyAccumulate(keys, query_{r}_{k}, product_{r});
        }
      }
    }
    workgroupBarrier();
    @unroll(l, LOADS) {
@fill(put)
    }
    @unroll(r, ROW_TILES) {
      subgroupMatrixStore<row_major>(&products, own + {r}u * 4u, product_{r}, PRODUCT_STRIDE);
    }
    workgroupBarrier();
  }
}
