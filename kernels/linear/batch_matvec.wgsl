// Linear layer for several items of one matrix: a workgroup takes TILE_OUTPUTS outputs of up to TILE_ITEMS items, and reads each weight once for all of them. What
// an item gets is added as matvec adds it: LANES sums, each over a stride of the row's vectors, then FOLD of them at a time, then those. PASS_LANES of the lanes have
// threads at a time; the sum goes on from pass to pass.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<Input>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const TILE_OUTPUTS = TEAMS * OUTPUTS_EACH;
const OUTPUT_TILES = (OUTPUTS + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
// A step is PASS_LANES neighbouring vectors of each row, and takes inputs in chunks, CHUNK_QUADS of the quads of those vectors at a time.
const CHUNKS = QUADS / CHUNK_QUADS;
const CHUNK_VECTORS = PASS_LANES * CHUNK_QUADS; // of one item, four floats each
const HALF = TILE_ITEMS * CHUNK_VECTORS;
// Whether a step may end in lanes without a vector.
const RAGGED = ROW_VECTORS % PASS_LANES != 0u;
const PARTIAL_STRIDE = PASS_LANES | 1u; // odd, so that threads that add neighbouring sums read different banks
const TURN = TILE_ITEMS * TEAMS * PARTIAL_STRIDE;

var<workgroup> staged: array<vec4<f32>, 2u * HALF>; // [half, item, quad of the chunk, lane]: one half is read while the other is written
var<workgroup> partial: array<f32, TURNS * TURN>; // [turn, item, team, lane]

// Where a quad lies among an item's. Those that are written together lie in different banks.
fn place_of(lane: u32, quad: u32) -> u32 {
  return quad * PASS_LANES + select(lane, lane ^ (quad * 4u), PASS_LANES >= 8u);
}

// The step after the one that begins with such a vector: of the same pass, or of the next. The last one is its own.
fn step_after(first_vector: u32) -> u32 {
  if (first_vector + LANES < ROW_VECTORS) {
    return first_vector + LANES;
  }
  let next_pass = first_vector % LANES + PASS_LANES;
  return select(first_vector, next_pass, next_pass < LANES);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let matrix = matrix_of_group(group);
  if (matrix - params.first_matrix >= params.matrices) { // also when the subtraction wrapped around
    return;
  }
  let first_output = output_tile_of(group) * TILE_OUTPUTS;
  let range = items_of(group, thread, matrix);
  for (var first = range.first; first < range.end; first += TILE_ITEMS) {
    multiply(thread, matrix, first_output, first, min(range.end - first, TILE_ITEMS));
  }
}
