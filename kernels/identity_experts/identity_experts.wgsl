@group(0) @binding(1) var<storage, read_write> routes: array<u32>;
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;
@group(0) @binding(3) var<storage, read> h: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const THREADS = 64u;

var<workgroup> gate: f32;

fn has(token: u32, expert: u32) -> bool {
  for (var k = 0u; k < ACTIVE; k++) {
    if (routes[token * ACTIVE + k] == expert) {
      return true;
    }
  }
  return false;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let token = group.x;
  if (thread == 0u) {
    var sum = 0.0;
    var unused = 0u;
    for (var k = 0u; k < ACTIVE; k++) {
      let at = token * ACTIVE + k;
      if (routes[at] >= EXPERTS) {
        sum += gates[at];
        while (has(token, unused)) {
          unused++;
        }
        routes[at] = unused;
        gates[at] = 0.0;
      }
    }
    gate = sum;
  }
  workgroupBarrier();
  for (var d = thread; d < WIDTH; d += THREADS) {
    y[token * WIDTH + d] = select(0.0, gate * h[token * WIDTH + d], ADDS);
  }
}
