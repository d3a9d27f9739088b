struct Tile { matrix: u32, first: u32, count: u32 }

fn tile_of(index: u32) -> Tile {
  let first = index * TILE_ITEMS;
  return Tile(0u, first, min(TILE_ITEMS, params.items - min(params.items, first)));
}

fn item_of(tile: Tile, i: u32) -> u32 { return tile.first + i; }
