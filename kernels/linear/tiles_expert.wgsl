// `routes` holds the plan that kernels/moe_plan wrote: the number of tiles, the tiles, then all items sorted by expert.
struct Tile { matrix: u32, first: u32, count: u32 }

fn tile_of(index: u32) -> Tile {
  if (index >= routes[0]) {
    return Tile(0u, 0u, 0u);
  }
  let at = 4u + index * 3u;
  return Tile(routes[at], routes[at + 1u], routes[at + 2u]);
}

fn item_of(tile: Tile, i: u32) -> u32 { return routes[PLAN_ITEMS + tile.first + i]; }
