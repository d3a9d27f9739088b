@section(outputs)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<u32>>; // eight values each

const PIECE = 8u; // outputs that are written together

// Writes what lies at `place` in workgroup memory to y's element `to`.
fn put(to: u32, place: u32) { y[to / 8u] = halves(bitcast<vec4<f32>>(memory[place]), bitcast<vec4<f32>>(memory[place + 1u])); }
@section(whole_tiles)
