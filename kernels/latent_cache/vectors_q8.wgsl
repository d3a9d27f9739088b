// Sixteen values of a slot into four quads of the tile, or eight of the rotated key into two.
fn stage(slot: u32, vector: u32, fetched: Fetched) {
  if (vector < KEY_VECTORS) {
    let column = vector * 16u;
    let quad = slot + vector * 4u;
    tile[quad] = byte_values(fetched.words.x) * scales_of(fetched, column);
    tile[quad + 1u] = byte_values(fetched.words.y) * scales_of(fetched, column + 4u);
    // The rotated key may begin in the middle of the last ones.
    if (vector * 4u + 2u < ROPE_QUAD) {
      tile[quad + 2u] = byte_values(fetched.words.z) * scales_of(fetched, column + 8u);
      tile[quad + 3u] = byte_values(fetched.words.w) * scales_of(fetched, column + 12u);
    }
  } else if (vector < SCALE_VECTOR) {
    let quad = slot + ROPE_QUAD + (vector - KEY_VECTORS) * 2u;
    tile[quad] = vec4(unpack2x16float(fetched.words.x), unpack2x16float(fetched.words.y));
    tile[quad + 1u] = vec4(unpack2x16float(fetched.words.z), unpack2x16float(fetched.words.w));
  }
}
