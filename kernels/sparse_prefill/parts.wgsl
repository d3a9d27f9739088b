What is done before the loop, of the first tiles, and in it, of those that come.
@section(ask)
{
  // Vectors of a token at constant distances need one address.
  let vector = slot * VECTORS + my_vector;
  @unroll(i, LOADS) {
    ahead_{i} = cache[vector + {i}u * SPAN];
  }
  @unroll(i, REST) {
    ahead_rest = cache[slot * VECTORS + min(LOADS * SPAN + my_vector, VECTORS - 1u)];
  }
  slot = chosen[list + min(asked, count - 1u)];
  asked += TOKENS;
}
@section(store_tile)
@unroll(i, LOADS) {
  memory.tiles[next + to + {i}u * SPAN] = ahead_{i};
}
@unroll(i, REST) {
  if (my_vector < VECTORS % SPAN) {
    memory.tiles[next + to + LOADS * SPAN] = ahead_rest;
  }
}
@section(sums)
@unroll(r, ROW_TILES) {
  let weights_{r} = subgroupMatrixLoad<Left, row_major>(&memory.weights, (sum_tile + {r}u) * 16u * WEIGHT_STRIDE, WEIGHT_STRIDE);
}
@unroll(c, COLUMN_STEPS) {
  {
    let values = subgroupMatrixLoad<Right, row_major>(&memory.tiles, latents + VALUE_OFFSET / 8u + (column_part + {c}u * COLUMN_PARTS) * 2u, STRIDE);
    @unroll(r, ROW_TILES) {
      sums_{r}_{c} = subgroupMatrixMultiplyAccumulate(weights_{r}, values, sums_{r}_{c});
    }
  }
}
@section(scores)
// Behind the last tile, of whatever was stored there.
{
  var product = Sums();
  @unroll(k, WIDTH_STEPS) {
    {
      let keys = subgroupMatrixLoad<Right, col_major>(&memory.tiles, next + (width_part * WIDTH_STEPS + {k}u) * 2u, STRIDE);
      product = subgroupMatrixMultiplyAccumulate(query_{k}, keys, product);
    }
  }
  subgroupMatrixStore<row_major>(&memory.scores, (width_part * ROWS + score_tile * 16u) * 4u, product, 4u);
}
