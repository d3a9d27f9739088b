What is done before the loop, of the first tile, and in it, of the next.
@section(store_tile)
@unroll(i, LOADS) {
  if (VECTORS % SPAN == 0u || {i}u * SPAN + my_vector < VECTORS) {
    memory.tiles[next + to + {i}u * SPAN] = ahead_{i};
  }
}
@section(scores)
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
