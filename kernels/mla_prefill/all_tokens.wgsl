// Which of four rows from `first_row` on attend to a position that they see.
fn attend_to(first_row: u32, position: u32) -> vec4<bool> { return vec4(true); }
