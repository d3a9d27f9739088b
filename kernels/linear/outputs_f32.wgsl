@section(outputs)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

const PIECE = 4u; // outputs that are written together

// Writes what lies at `place` in workgroup memory to y's element `to`.
fn put(to: u32, place: u32) { y[to / 4u] = bitcast<vec4<f32>>(memory[place]); }
@section(whole_tiles)
  // Whole tiles of items at equal distances are stored as the matrices they are.
  if (EVEN && tile.count == TILE_ITEMS && first_output + TILE_OUTPUTS <= params.part_outputs) {
    let to = (place_of(item_of(tile, my_item)) + params.first_output + first_output + my_output) / 4u;
    @unroll(i, M_STEPS) {
      @unroll(j, N_STEPS) {
        subgroupMatrixStore<row_major>(&y, to + {i}u * 4u * ITEM_STEP * OUTPUTS + {j}u * 4u, sums_{i}_{j}, ITEM_STEP * OUTPUTS / 4u);
      }
    }
    return;
  }
