// Items of one head: rows of the run, each of which has all heads in order.
struct Tile { matrix: u32, first: u32, count: u32 }

fn tile_of(index: u32) -> Tile {
  let first = index / HEADS * TILE_ITEMS;
  let rows = params.items / HEADS;
  return Tile(index % HEADS, first, min(TILE_ITEMS, rows - min(rows, first)));
}

fn item_of(tile: Tile, i: u32) -> u32 { return (tile.first + i) * HEADS + tile.matrix; }
