@group(0) @binding(1) var<storage, read> embedded: array<Values>;
@group(0) @binding(2) var<storage, read> x: array<Values>;
@group(0) @binding(3) var<storage, read> kept: array<Values>;
@group(0) @binding(4) var<storage, read> embedding_norm: array<Values>;
@group(0) @binding(5) var<storage, read> hidden_norm: array<Values>;
@group(0) @binding(6) var<storage, read> final_norm: array<Values>;
@group(0) @binding(7) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(8) var<storage, read_write> y: array<Values>;

// The hidden state of a row, but for what it is normalised with.
fn hidden(place: u32, k: u32) -> Values {
  if (place == NO_HIDDEN) {
    return Values();
  }
  if (place >= FROM_STREAM) {
    return x[(place - FROM_STREAM) * ROW_VALUES + k];
  }
  return kept[place * ROW_VALUES + k];
}

@compute @workgroup_size(RMS_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * ROW_VALUES;
  let place = places[group.x].x;
  let streamed = place >= FROM_STREAM && place != NO_HIDDEN;
  var own = 0.0;
  for (var k = thread; k < ROW_VALUES; k += RMS_THREADS) {
    own = add_squares(embedded[start + k], own);
  }
  let of_embedding = inverse_rms(thread, own, WIDTH, EPS);
  own = 0.0;
  for (var k = thread; k < ROW_VALUES; k += RMS_THREADS) {
    own = add_squares(hidden(place, k), own);
  }
  let of_stream = inverse_rms(thread, own, WIDTH, EPS);
  own = 0.0;
  for (var k = thread; k < ROW_VALUES; k += RMS_THREADS) {
    let value = hidden(place, k);
    own = add_squares(select(value, value * of_stream * final_norm[k], streamed), own);
  }
  let of_hidden = inverse_rms(thread, own, WIDTH, EPS);
  for (var k = thread; k < ROW_VALUES; k += RMS_THREADS) {
    let value = hidden(place, k);
    y[2u * start + k] = embedded[start + k] * of_embedding * embedding_norm[k];
    y[2u * start + ROW_VALUES + k] = select(value, value * of_stream * final_norm[k], streamed) * of_hidden * hidden_norm[k];
  }
}
