// Rows of whole quads.
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> rope_keys: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> state: array<vec2<f32>>; // maximum, sum
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;

const NOPE_QUADS = NOPE / 4u;
const ROPE_QUADS = ROPE / 4u;
const VALUE_QUADS = VALUE / 4u;

fn query4(row: u32, head: u32, quad: u32) -> vec4<f32> {
  if (quad >= QUERY_QUADS) {
    return vec4(0.0);
  }
  return q[(row * HEADS + head) * QUERY_QUADS + quad];
}

fn key4(key: u32, head: u32, quad: u32) -> vec4<f32> {
  if (quad >= QUERY_QUADS) {
    return vec4(0.0);
  }
  if (quad < NOPE_QUADS) {
    return keys[(key * HEADS + head) * NOPE_QUADS + quad];
  }
  return rope_keys[key * ROPE_QUADS + quad - NOPE_QUADS];
}

fn value4(key: u32, head: u32, quad: u32) -> vec4<f32> { return values[(key * HEADS + head) * VALUE_QUADS + min(quad, VALUE_QUADS - 1u)]; }

fn write_out(item: u32, quad: u32, value: vec4<f32>) {
  if (quad < VALUE_QUADS) {
    out[item * VALUE_QUADS + quad] = value;
  }
}
