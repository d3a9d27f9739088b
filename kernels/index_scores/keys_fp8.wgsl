Keys in E4M3 are widened as they are put into a tile, without what makes up for the exponent; that and their scale their scores are multiplied by.
@section(functions)
// Two pairs of bytes as f16 that are 2⁻⁸ of what they stand for: bits of a sign, an exponent and a mantissa have a place there.
fn widened(word: u32) -> vec2<u32> {
  let apart = vec2((word & 0xffu) | ((word & 0xff00u) << 8u), ((word >> 16u) & 0xffu) | ((word >> 8u) & 0xff0000u));
  return ((apart & vec2(0x00800080u)) << vec2(8u)) | ((apart & vec2(0x007f007fu)) << vec2(7u));
}

@section(put)
      let to_{l} = ({l}u * THREADS + thread) / KEY_VECTORS * KEY_STRIDE + ({l}u * THREADS + thread) % KEY_VECTORS * 2u;
      tiles[to_{l}] = vec4(widened(ahead_{l}.x), widened(ahead_{l}.y));
      tiles[to_{l} + 1u] = vec4(widened(ahead_{l}.z), widened(ahead_{l}.w));
@section(scale)
    let scaled = clamp(first + my_key, begin, limit);
    let scale = bitcast<f32>(cache[(blocks[(scaled - begin) / BLOCK_TOKENS] + scaled % BLOCK_TOKENS) * SLOT_VECTORS + KEY_VECTORS].x) * 256.0;
@section(write)
      scores[score_row * POSITIONS + key] = score * scale;
