// Position of the token that is kept as number `index`.
fn token_position(index: u32) -> u32 { return (index / BLOCK_TOKENS * SHARES + SHARE) * BLOCK_TOKENS + index % BLOCK_TOKENS; }

