@section(kept)
@group(0) @binding(7) var<storage, read_write> normed: array<vec2<u32>>; // four values in f16 each

fn keep(at: u32, value: Values) { normed[at] = half_quad(value); }
