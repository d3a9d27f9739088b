@group(0) @binding(1) var<storage, read> q: array<f32>; // [row, head, column]

// Columns beyond the last are those of zeros in keys.
fn query4(item: u32, quad: u32) -> vec4<f32> {
  let first = item * WIDTH;
  let last = first + WIDTH - 1u;
  let at = first + quad * 4u;
  return vec4(q[min(at, last)], q[min(at + 1u, last)], q[min(at + 2u, last)], q[min(at + 3u, last)]);
}
