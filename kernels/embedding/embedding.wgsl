@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let k4 = id.x;
  let item = id.y;
  let row = step[item].x - params.first_row;
  if (k4 * 4u >= COLUMNS || row >= params.part_rows) { // the token is in another part
    return;
  }
  let value = SCALE * weight4(row, k4);
  for (var c = 0u; c < min(4u, COLUMNS - k4 * 4u); c++) {
    y[item * COLUMNS + k4 * 4u + c] = value[c];
  }
}
