alias Fetched = vec4<u32>;

// Vectors of a token that are fetched, and that its slot has.
const LOADED = VECTORS;
const SLOT_VECTORS = VECTORS;

// Where what is fetched as number `at` of a tile belongs.
fn place_of(at: u32) -> u32 { return at / VECTORS * STRIDE + at % VECTORS; }

fn fetch(base: u32, at: u32) -> Fetched { return cache[base + at]; }

fn put(to: u32, fetched: Fetched) {
  memory.tiles[to] = fetched;
}
