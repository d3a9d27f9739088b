@section(store)
  for (var column = 2u * thread; column < CACHE_WIDTH; column += 2u * THREADS) {
    store_pair(slot, column / 2u, vec2(rotated(column, turns), rotated(column + 1u, turns)));
  }
@section(functions)
