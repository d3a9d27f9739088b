@group(0) @binding(1) var<storage, read> x: array<Input>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

const OCTETS = COLUMNS / 8u;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let octet = id.x;
  let row = id.z * ROWS_DOWN + id.y;
  if (octet < OCTETS && row < params.rows) {
    y[row * OCTETS + octet] = halves(input4(row * INPUT_STRIDE, octet * 2u), input4(row * INPUT_STRIDE, octet * 2u + 1u));
  }
}
