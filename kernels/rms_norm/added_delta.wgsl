fn added(row: u32, k: u32) -> Values { return delta[row * ROW_VALUES + k]; }
