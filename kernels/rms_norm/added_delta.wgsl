@group(0) @binding(2) var<storage, read> delta: array<Values>;

fn added(row: u32, k: u32) -> Values { return delta[row * ROW_VALUES + k]; }
