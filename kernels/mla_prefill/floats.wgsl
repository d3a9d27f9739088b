// Rows of any width, whose last quad is filled up with zeros.
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<f32>;
@group(0) @binding(3) var<storage, read> rope_keys: array<f32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> state: array<vec2<f32>>; // maximum, sum
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

fn query4(row: u32, head: u32, quad: u32) -> vec4<f32> {
  var value = vec4(0.0);
  for (var d = quad * 4u; d < min(quad * 4u + 4u, QUERY); d++) {
    value[d % 4u] = q[(row * HEADS + head) * QUERY + d];
  }
  return value;
}

fn key4(key: u32, head: u32, quad: u32) -> vec4<f32> {
  var value = vec4(0.0);
  for (var d = quad * 4u; d < min(quad * 4u + 4u, QUERY); d++) {
    if (d < NOPE) {
      value[d % 4u] = keys[(key * HEADS + head) * NOPE + d];
    } else {
      value[d % 4u] = rope_keys[key * ROPE + d - NOPE];
    }
  }
  return value;
}

fn value4(key: u32, head: u32, quad: u32) -> vec4<f32> {
  var value = vec4(0.0);
  for (var c = quad * 4u; c < min(quad * 4u + 4u, VALUE); c++) {
    value[c % 4u] = values[(key * HEADS + head) * VALUE + c];
  }
  return value;
}

fn write_out(item: u32, quad: u32, value: vec4<f32>) {
  for (var c = quad * 4u; c < min(quad * 4u + 4u, VALUE); c++) {
    out[item * VALUE + c] = value[c % 4u];
  }
}
