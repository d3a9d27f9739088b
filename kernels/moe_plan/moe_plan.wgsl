// One workgroup: every thread counts and places the items of its experts, in item order, so the plan is the same on every run.
@group(0) @binding(1) var<storage, read> routes: array<u32>;
@group(0) @binding(2) var<storage, read_write> plan: array<u32>;

const THREADS = 64u;

var<workgroup> counts: array<u32, EXPERTS>;
var<workgroup> firsts: array<u32, EXPERTS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  for (var e = thread; e < EXPERTS; e += THREADS) {
    var count = 0u;
    for (var i = 0u; i < params.items; i++) {
      count += u32(routes[i] == e);
    }
    counts[e] = count;
  }
  workgroupBarrier();
  if (thread == 0u) {
    var tiles = 0u;
    var first = 0u;
    for (var e = 0u; e < EXPERTS; e++) {
      firsts[e] = first;
      for (var done = 0u; done < counts[e]; done += TILE_ITEMS) {
        plan[4u + tiles * 3u] = e;
        plan[5u + tiles * 3u] = first + done;
        plan[6u + tiles * 3u] = min(TILE_ITEMS, counts[e] - done);
        tiles++;
      }
      first += counts[e];
    }
    plan[0] = tiles;
  }
  workgroupBarrier();
  for (var e = thread; e < EXPERTS; e += THREADS) {
    var at = PLAN_ITEMS + firsts[e];
    for (var i = 0u; i < params.items; i++) {
      if (routes[i] == e) {
        plan[at] = i;
        at++;
      }
    }
  }
}
