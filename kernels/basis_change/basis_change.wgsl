@group(0) @binding(1) var<storage, read> matrix: array<f32>;
@group(0) @binding(2) var<storage, read> factors: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> matrix_tile: array<array<f32, TILE>, TILE>;
var<workgroup> factor_tile: array<array<f32, TILE>, TILE>;

@compute @workgroup_size(TILE, TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
  let row = group.y * TILE + id.y;
  let column = group.x * TILE + id.x;
  var sum = 0.0;
  for (var first = 0u; first < WIDTH; first += TILE) {
    let j = first + id.x;
    let factor_row = group.x * TILE + id.y;
    matrix_tile[id.y][id.x] = select(0.0, matrix[min(row, params.rows - 1u) * WIDTH + min(j, WIDTH - 1u)], j < WIDTH);
    factor_tile[id.y][id.x] = select(0.0, factors[min(factor_row, params.columns - 1u) * WIDTH + min(j, WIDTH - 1u)], j < WIDTH);
    workgroupBarrier();
    for (var i = 0u; i < TILE; i++) {
      sum += matrix_tile[id.y][i] * factor_tile[id.x][i];
    }
    workgroupBarrier();
  }
  if (row < params.rows && column < params.columns) {
    y[row * params.stride + column] = sum;
  }
}
