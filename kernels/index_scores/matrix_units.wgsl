// Scores of cached keys with one row's queries on matrix units, TOKENS keys at a time. A subgroup multiplies all keys of a tile with the queries of its part of the heads,
// which it keeps; products go where the keys were, and each thread sums what is positive of some keys' products, of some heads. Most indexers need one subgroup alone: then
// barriers cost next to nothing, and each subgroup of a processor is at something else.
@fill(layout)
var<workgroup> tiles: array<vec4<u32>, TILES>; // keys and products; before the first tile, queries of 16 heads of each part
var<workgroup> parts: array<f32, SUBGROUPS * TOKENS>; // [subgroup, key]
var<workgroup> blocks: array<u32, HELD_BLOCKS>;

@fill(functions)
@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let score_row = group.y;
  let row = params.first_row + score_row;
  let context = step[row].y + 1u;
  let table = step[row].w;
@fill(strip)
  let first_vector = blocks[0] * SLOT_VECTORS;
  @unroll(l, LOADS) {
    var ahead_{l} = cache[first_vector + min(({l}u * THREADS + thread) / KEY_VECTORS, limit - begin) * SLOT_VECTORS + ({l}u * THREADS + thread) % KEY_VECTORS];
  }
  @unroll(r, ROW_TILES) {
    @unroll(i, QUERY_LOADS) {
      let at_{r}_{i} = {i}u * THREADS + thread;
      let head_{r}_{i} = at_{r}_{i} / EIGHTS / 16u * ROW_TILES * 16u + {r}u * 16u + at_{r}_{i} / EIGHTS % 16u;
      let query_at_{r}_{i} = ((row * HEADS + head_{r}_{i}) * EIGHTS + at_{r}_{i} % EIGHTS) * 2u;
      tiles[at_{r}_{i} / EIGHTS * KEY_STRIDE + at_{r}_{i} % EIGHTS] = halves(q[query_at_{r}_{i}], q[query_at_{r}_{i} + 1u]);
    }
    workgroupBarrier();
    @unroll(k, STEPS) {
      let query_{r}_{k} = subgroupMatrixLoad<Right, col_major>(&tiles, subgroup * 16u * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
    }
    workgroupBarrier();
  }
  let first_quad = subgroup * ROW_TILES * 4u;
  let part = lane % PARTS;
  let my_key = key_of(lane);
  @unroll(h, QUAD_STEPS) {
    let weight_{h} = weights[row * (HEADS / 4u) + first_quad + {h}u * PARTS + part];
  }
  for (var first = begin; first < end; first += TOKENS) {
    @unroll(l, LOADS) {
@fill(put)
    }
@fill(scale)
    workgroupBarrier();
    let tile = min(first + TOKENS, limit);
    let vector = (blocks[(tile - begin) / BLOCK_TOKENS] + tile % BLOCK_TOKENS) * SLOT_VECTORS;
    @unroll(l, LOADS) {
      ahead_{l} = cache[vector + min(({l}u * THREADS + thread) / KEY_VECTORS, limit - tile) * SLOT_VECTORS + ({l}u * THREADS + thread) % KEY_VECTORS];
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
    @unroll(r, ROW_TILES) {
      subgroupMatrixStore<row_major>(&tiles, first_quad + {r}u * 4u, product_{r}, PRODUCT_STRIDE);
    }
    workgroupBarrier();
    let products_at = lane / PARTS * PRODUCT_STRIDE + first_quad + part;
@fill(sum)
    if (SUBGROUPS > 1u) {
      if (part < KEYS_EACH) {
        parts[subgroup * TOKENS + my_key] = sum;
      }
    }
    workgroupBarrier();
    let key = first + my_key;
    if (subgroup == 0u && part < KEYS_EACH && key < end) {
      var score = sum;
      for (var other = 1u; other < SUBGROUPS; other++) {
        score += parts[other * TOKENS + my_key];
      }
@fill(write)
    }
  }
}
