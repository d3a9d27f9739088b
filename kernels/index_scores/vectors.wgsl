@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [row, head, column]

fn query4(item: u32, quad: u32) -> vec4<f32> { return q[item * (WIDTH / 4u) + min(quad, WIDTH / 4u - 1u)]; }
