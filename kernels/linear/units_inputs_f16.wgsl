Inputs that were activated and rounded before.
@section(inputs)
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>; // eight values in f16 each

fn octet_of(k: u32, octet: u32) -> u32 {
  let at = k / 8u + octet;
  return select(at, min(at, COLUMNS / 8u - 1u), RAGGED_AHEAD);
}
@section(held_inputs)
      var input_{a}_{l}: vec4<u32>;
@section(read_input)
          input_{a}_{l} = x[base_{l} / 8u + octet_of(next_{a}, octet_{l})];
@section(store_input)
            memory[at_{a} + input_to_{l}] = select(input_{a}_{l}, vec4(0u), RAGGED && now_{a} / 8u + octet_{l} >= COLUMNS / 8u);
