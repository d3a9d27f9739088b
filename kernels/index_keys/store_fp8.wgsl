As writeFp8 of kernels/latent_cache/fp8.ts.
@section(store)
  own = SMALLEST;
  for (var column = thread; column < WIDTH; column += THREADS) {
    own = max(own, abs(rotated(column, turns)));
  }
  sums[thread] = own;
  workgroupBarrier();
  var largest = 0.0;
  for (var i = 0u; i < THREADS; i++) {
    largest = max(largest, sums[i]);
  }
  // 448 is 1.75 · 2⁸.
  let magnitude = bitcast<u32>(largest);
  let exponent = (magnitude >> 23u) - 8u + select(0u, 1u, (magnitude & 0x7fffffu) > 0x600000u);
  let inverse = bitcast<f32>((254u - exponent) << 23u);
  for (var word = thread; word < SCALE_WORD; word += THREADS) {
    var bytes = 0u;
    for (var i = 0u; i < 4u; i++) {
      let column = word * 4u + i;
      if (column < WIDTH) {
        bytes |= e4m3(rotated(column, turns) * inverse) << (i * 8u);
      }
    }
    cache[slot * SLOT_WORDS + word] = bytes;
  }
  if (thread < SLOT_WORDS - SCALE_WORD) {
    cache[slot * SLOT_WORDS + SCALE_WORD + thread] = select(0u, exponent << 23u, thread == 0u);
  }
@section(functions)
// The byte whose value is nearest (ties to even); NaN of what is not finite.
fn e4m3(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let sign = (bits >> 24u) & 0x80u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > bitcast<u32>(448.0f)) {
    return sign | 0x7fu;
  }
  // Below 2⁻⁶ values are 2⁻⁹ apart, as floats are from 2¹⁴ on.
  if (magnitude < bitcast<u32>(0.015625f)) {
    return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 16384.0) - bitcast<u32>(16384.0f));
  }
  return sign | (((magnitude + 0x7ffffu + ((magnitude >> 20u) & 1u)) >> 20u) - 960u);
}
