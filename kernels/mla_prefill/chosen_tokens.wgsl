@group(0) @binding(7) var<storage, read> chosen: array<u32>; // [row, CHOSEN_STRIDE], a bit for each position

// Which of four rows from `first_row` on attend to a position that they see.
fn attend_to(first_row: u32, position: u32) -> vec4<bool> {
  let last = params.rows - 1u;
  let rows = min(vec4(first_row) + vec4(0u, 1u, 2u, 3u), vec4(last)) * CHOSEN_STRIDE + position / 32u;
  let words = vec4(chosen[rows.x], chosen[rows.y], chosen[rows.z], chosen[rows.w]);
  return ((words >> vec4(position % 32u)) & vec4(1u)) == vec4(1u);
}
