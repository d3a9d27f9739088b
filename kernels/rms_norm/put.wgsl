fn put(at: u32, value: Values) { y[at] = value; }
