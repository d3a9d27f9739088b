alias Stored = Values;

fn widened(stored: Stored) -> Values { return stored; }
