Inputs that are activated and rounded as they are staged.
@section(inputs)
@group(0) @binding(4) var<storage, read> x: array<Input>;

const INPUT_QUADS = (COLUMNS + 3u) / 4u;

fn quad_of(k: u32, quad: u32) -> u32 {
  let at = k / 4u + quad;
  return select(at, min(at, INPUT_QUADS - 1u), RAGGED_AHEAD);
}
@section(held_inputs)
      var low_{a}_{l}: vec4<f32>;
      var low_values_{a}_{l}: vec4<f32>;
      var high_{a}_{l}: vec4<f32>;
      var high_values_{a}_{l}: vec4<f32>;
@section(read_input)
          low_{a}_{l} = stored4(base_{l}, quad_of(next_{a}, octet_{l} * 2u));
          low_values_{a}_{l} = values4(base_{l}, quad_of(next_{a}, octet_{l} * 2u));
          high_{a}_{l} = stored4(base_{l}, quad_of(next_{a}, octet_{l} * 2u + 1u));
          high_values_{a}_{l} = values4(base_{l}, quad_of(next_{a}, octet_{l} * 2u + 1u));
@section(store_input)
            let quad_{a}_{l} = now_{a} / 4u + octet_{l} * 2u;
            let input_low_{a}_{l} = activated4(low_{a}_{l}, low_values_{a}_{l});
            let input_high_{a}_{l} = activated4(high_{a}_{l}, high_values_{a}_{l});
            memory[at_{a} + input_to_{l}] = halves(
              select(input_low_{a}_{l}, vec4(0.0), RAGGED && quad_{a}_{l} >= INPUT_QUADS),
              select(input_high_{a}_{l}, vec4(0.0), RAGGED && quad_{a}_{l} + 1u >= INPUT_QUADS),
            );
