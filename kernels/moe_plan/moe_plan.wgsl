// One workgroup. The items are PARTS stretches; every thread counts and places the items of its experts in one of them, in item order, so the plan is the
// same on every run.
@group(0) @binding(1) var<storage, read> routes: array<u32>;
@group(0) @binding(2) var<storage, read_write> plan: array<u32>;

var<workgroup> counts: array<u32, EXPERTS * PARTS>; // [expert, part]
var<workgroup> firsts: array<u32, EXPERTS * PARTS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  let stretch = (params.items + PARTS - 1u) / PARTS;
  for (var place = thread; place < EXPERTS * PARTS; place += THREADS) {
    let expert = place / PARTS;
    let begin = min(place % PARTS * stretch, params.items);
    let end = min(begin + stretch, params.items);
    var count = 0u;
    for (var i = begin; i < end; i += AT_ONCE) {
      @unroll(u, AT_ONCE) {
        count += select(0u, 1u, i + {u}u < end && routes[min(i + {u}u, end - 1u)] == expert);
      }
    }
    counts[place] = count;
  }
  workgroupBarrier();
  if (thread == 0u) {
    var tiles = 0u;
    var first = 0u;
    for (var e = 0u; e < EXPERTS; e++) {
      let begin = first;
      for (var part = 0u; part < PARTS; part++) {
        firsts[e * PARTS + part] = first;
        first += counts[e * PARTS + part];
      }
      for (var at = begin; at < first; at += TILE_ITEMS) {
        plan[4u + tiles * 3u] = e;
        plan[5u + tiles * 3u] = at;
        plan[6u + tiles * 3u] = min(TILE_ITEMS, first - at);
        tiles++;
      }
    }
    plan[0] = tiles;
  }
  workgroupBarrier();
  for (var place = thread; place < EXPERTS * PARTS; place += THREADS) {
    let expert = place / PARTS;
    let begin = min(place % PARTS * stretch, params.items);
    let end = min(begin + stretch, params.items);
    var at = PLAN_ITEMS + firsts[place];
    for (var i = begin; i < end; i += AT_ONCE) {
      @unroll(u, AT_ONCE) {
        let route_{u} = routes[min(i + {u}u, end - 1u)];
      }
      @unroll(u, AT_ONCE) {
        if (i + {u}u < end && route_{u} == expert) {
          plan[at] = i + {u}u;
          at++;
        }
      }
    }
  }
}
