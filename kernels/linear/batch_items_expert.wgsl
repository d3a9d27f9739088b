// The workgroups of an expert find its items among all routes, which are few: less work than a dispatch that does it once. Where there are fewer items than experts,
// workgroups are for items, and those of an expert's first one take all of them. Items are found in any order, since none depends on another.
struct Range { first: u32, end: u32 }

var<workgroup> found: array<u32, MOST_ITEMS>;
var<workgroup> found_count: atomic<u32>;
var<workgroup> items_before: atomic<u32>;
var<workgroup> items_end: u32;

fn of_items() -> bool { return params.items < params.matrices; }

fn matrix_of_group(group: vec3<u32>) -> u32 {
  if (of_items()) {
    return routes[group.y];
  }
  return params.first_matrix + group.y;
}

fn output_tile_of(group: vec3<u32>) -> u32 { return group.x; }

fn items_of(group: vec3<u32>, thread: u32, matrix: u32) -> Range {
  for (var first = thread; first < params.items; first += ROUTES_AT_ONCE * THREADS) {
    @unroll(r, ROUTES_AT_ONCE) {
      let item_{r} = first + {r}u * THREADS;
      let route_{r} = routes[min(item_{r}, params.items - 1u)];
    }
    @unroll(r, ROUTES_AT_ONCE) {
      if (item_{r} < params.items && route_{r} == matrix) {
        if (of_items() && item_{r} < group.y) {
          atomicStore(&items_before, 1u);
        } else {
          found[atomicAdd(&found_count, 1u)] = item_{r};
        }
      }
    }
  }
  workgroupBarrier();
  if (thread == 0u) {
    items_end = select(atomicLoad(&found_count), 0u, atomicLoad(&items_before) > 0u);
  }
  return Range(0u, workgroupUniformLoad(&items_end));
}

fn item_at(matrix: u32, i: u32) -> u32 { return found[i]; }
