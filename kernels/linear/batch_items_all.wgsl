struct Range { first: u32, end: u32 }

fn matrix_of_group(group: vec3<u32>) -> u32 { return 0u; }

fn output_tile_of(group: vec3<u32>) -> u32 { return group.y; }

fn items_of(group: vec3<u32>, thread: u32, matrix: u32) -> Range {
  return Range(group.x * TILE_ITEMS, min((group.x + 1u) * TILE_ITEMS, params.items));
}

fn item_at(matrix: u32, i: u32) -> u32 { return i; }
