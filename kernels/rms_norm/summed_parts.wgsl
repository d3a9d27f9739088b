fn added(row: u32, k: u32) -> Values { return summed(row * ROW_VALUES + k); }
