// One workgroup sorts items by expert, and those of an expert by their number, so that the plan is the same on every run. An item goes where its expert's items
// begin, behind those of its expert that come before it: in earlier rounds, which are counted, and in its own, where a bit tells for every expert and item.
@group(0) @binding(1) var<storage, read> routes: array<u32>;
@group(0) @binding(2) var<storage, read_write> plan: array<u32>;

const STRIDE = WORDS | 1u; // odd, so that the same word of many experts lies in different banks

var<workgroup> places: array<atomic<u32>, EXPERTS>; // how many items an expert has; then where the next one of them goes
var<workgroup> chosen: array<atomic<u32>, EXPERTS * STRIDE>; // bits of a round's items

fn tiles_of(count: u32) -> u32 {
  return (count + TILE_ITEMS - 1u) / TILE_ITEMS;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  // How many items each expert has.
  for (var first = 0u; first < params.items; first += AT_ONCE * THREADS) {
    @unroll(u, AT_ONCE) {
      let item_{u} = first + {u}u * THREADS + thread;
      let route_{u} = routes[min(item_{u}, params.items - 1u)];
    }
    @unroll(u, AT_ONCE) {
      if (item_{u} < params.items) {
        atomicAdd(&places[route_{u}], 1u);
      }
    }
  }
  workgroupBarrier();

  // Where they begin, and the tiles that they make.
  @unroll(m, EXPERTS_EACH) {
    let expert_{m} = {m}u * THREADS + thread;
    let count_{m} = atomicLoad(&places[min(expert_{m}, EXPERTS - 1u)]);
    var first_{m} = 0u;
    var tile_{m} = 0u;
  }
  for (var e = 0u; e < EXPERTS; e++) {
    let count = atomicLoad(&places[e]);
    @unroll(m, EXPERTS_EACH) {
      first_{m} += select(0u, count, e < expert_{m});
      tile_{m} += select(0u, tiles_of(count), e < expert_{m});
    }
  }
  workgroupBarrier();
  @unroll(m, EXPERTS_EACH) {
    if (expert_{m} < EXPERTS) {
      atomicStore(&places[expert_{m}], first_{m});
      for (var done = 0u; done < count_{m}; done += TILE_ITEMS) {
        plan[4u + tile_{m} * 3u] = expert_{m};
        plan[5u + tile_{m} * 3u] = first_{m} + done;
        plan[6u + tile_{m} * 3u] = min(TILE_ITEMS, count_{m} - done);
        tile_{m}++;
      }
    }
    if (expert_{m} == EXPERTS - 1u) {
      plan[0] = tile_{m};
    }
  }
  workgroupBarrier();

  // Where each item goes.
  for (var round = 0u; round < params.items; round += WORDS * 32u) {
    @unroll(u, ITEMS_EACH) {
      let bit_{u} = {u}u * THREADS + thread;
      let mine_{u} = bit_{u} < WORDS * 32u && round + bit_{u} < params.items;
      let route_{u} = routes[min(round + bit_{u}, params.items - 1u)];
    }
    @unroll(u, ITEMS_EACH) {
      if (mine_{u}) {
        atomicOr(&chosen[route_{u} * STRIDE + bit_{u} / 32u], 1u << (bit_{u} % 32u));
      }
    }
    workgroupBarrier();
    @unroll(u, ITEMS_EACH) {
      if (mine_{u}) {
        let bits = route_{u} * STRIDE;
        let beside = atomicLoad(&chosen[bits + bit_{u} / 32u]) & ((1u << (bit_{u} % 32u)) - 1u);
        var place = atomicLoad(&places[route_{u}]) + countOneBits(beside);
        for (var w = 0u; w < bit_{u} / 32u; w++) {
          place += countOneBits(atomicLoad(&chosen[bits + w]));
        }
        plan[PLAN_ITEMS + place] = round + bit_{u};
      }
    }
    workgroupBarrier();
    for (var e = thread; e < EXPERTS; e += THREADS) {
      var count = 0u;
      for (var w = 0u; w < WORDS; w++) {
        count += countOneBits(atomicExchange(&chosen[e * STRIDE + w], 0u));
      }
      atomicAdd(&places[e], count);
    }
    workgroupBarrier();
  }
}
