@section(functions)
@section(put)
      tiles[({l}u * THREADS + thread) / KEY_VECTORS * KEY_STRIDE + ({l}u * THREADS + thread) % KEY_VECTORS] = ahead_{l};
@section(scale)
@section(write)
      scores[score_row * POSITIONS + key] = score;
