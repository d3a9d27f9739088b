@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(2) var<storage, read> table: array<vec2<f32>>; // (cos, sin)
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const PAIRS = WIDTH / 2u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= HEADS * PAIRS) {
    return;
  }
  let pair = id.x % PAIRS;
  let base = id.y * ROW_STRIDE + (id.x / PAIRS) * HEAD_STRIDE + OFFSET;
  let a = base + pair * PAIR_STEP;
  let b = a + PAIR_DISTANCE;
  let turn = table[step[id.y].y * PAIRS + pair];
  let value = vec2(x[a], x[b]);
  x[a] = value.x * turn.x - value.y * turn.y;
  x[b] = value.y * turn.x + value.x * turn.y;
}
