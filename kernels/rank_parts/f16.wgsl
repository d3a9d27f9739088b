// Four values in f16.
alias Stored = vec2<u32>;

fn widened(stored: Stored) -> Values { return vec4(unpack2x16float(stored.x), unpack2x16float(stored.y)); }
