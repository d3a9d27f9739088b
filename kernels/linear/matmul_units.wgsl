// Tiled linear layer on matrix units: TILE_ITEMS × TILE_OUTPUTS results per workgroup. Inputs and weights are rounded to f16 on their way into workgroup
// memory, sums are f32. What the next step needs is under way in registers, as it lies in memory: whatever is made of a loaded value waits for it.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<Input>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const OCTETS = DEPTH / 8u; // of columns
const WEIGHT_VECTORS = DEPTH / (4u * QUADS); // of one row
const TILE_OUTPUTS = N_PARTS * N_STEPS * 16u;
const SUBGROUPS = M_PARTS * N_PARTS;
const THREADS = SUBGROUPS * 32u;
const WEIGHTS_AT = TILE_ITEMS * STRIDE;

// Sums leave through it in the end, 16 × 16 of them per subgroup.
var<workgroup> memory: buffer<max((TILE_ITEMS + TILE_OUTPUTS) * STRIDE * 2u, SUBGROUPS * 1024u)>;

fn halves(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  let most = vec4(65504.0);
  let a = clamp(low, -most, most);
  let b = clamp(high, -most, most);
  return vec4(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let tile = tile_of(group.y);
  let matrix = tile.matrix - params.first_matrix;
  if (tile.count == 0u || matrix >= params.matrices) {
    return;
  }
  let thread = subgroup * 32u + lane;
  let first_output = group.x * TILE_OUTPUTS;
  let my_item = subgroup / N_PARTS * M_STEPS * 16u;
  let my_output = subgroup % N_PARTS * N_STEPS * 16u;
  let halves_tile = bufferView<array<f16>>(&memory, 0u);
  let vectors = bufferView<array<vec4<u32>>>(&memory, 0u);
  let results = bufferView<array<f32>>(&memory, 0u);

  // What lies beyond the last item or output is computed like it, and not written.
  @unroll(l, INPUT_LOADS) {
    let input_row_{l} = ({l}u * THREADS + thread) / OCTETS;
    let input_octet_{l} = ({l}u * THREADS + thread) % OCTETS;
    let input_{l} = (item_of(tile, min(input_row_{l}, tile.count - 1u)) / ITEMS_PER_INPUT) * INPUT_STRIDE;
    var low_{l} = stored4(input_{l}, input_octet_{l} * 2u);
    var high_{l} = stored4(input_{l}, input_octet_{l} * 2u + 1u);
    var second_low_{l} = vec4(0.0);
    var second_high_{l} = vec4(0.0);
    if (GATED) {
      second_low_{l} = stored4(input_{l} + COLUMNS, input_octet_{l} * 2u);
      second_high_{l} = stored4(input_{l} + COLUMNS, input_octet_{l} * 2u + 1u);
    }
  }
  @unroll(l, WEIGHT_LOADS) {
    let weight_row_{l} = ({l}u * THREADS + thread) / WEIGHT_VECTORS;
    let weight_vector_{l} = ({l}u * THREADS + thread) % WEIGHT_VECTORS;
    let row_{l} = matrix * OUTPUTS + min(first_output + weight_row_{l}, params.part_outputs - 1u);
    var words_{l} = weights[row_{l} * ROW_VECTORS + weight_vector_{l}];
    var scale_{l} = scale_word(row_{l}, weight_vector_{l} * QUADS * 4u);
  }
  @unroll(i, M_STEPS) {
    @unroll(j, N_STEPS) {
      var sums_{i}_{j}: Sums;
    }
  }
  for (var k = 0u; k < COLUMNS; k += DEPTH) {
    @unroll(l, INPUT_LOADS) {
      if (GATED) {
        vectors[input_row_{l} * (STRIDE / 8u) + input_octet_{l}] = halves(activated(low_{l}, second_low_{l}), activated(high_{l}, second_high_{l}));
      } else {
        vectors[input_row_{l} * (STRIDE / 8u) + input_octet_{l}] = halves(low_{l}, high_{l});
      }
    }
    @unroll(l, WEIGHT_LOADS) {
      {
        let scale = scale_from(scale_{l}, k + weight_vector_{l} * QUADS * 4u);
        let to = WEIGHTS_AT / 8u + weight_row_{l} * (STRIDE / 8u) + weight_vector_{l} * (QUADS / 2u);
        @unroll(p, QUAD_PAIRS) {
          vectors[to + {p}u] = halves(widen(words_{l}, 2u * {p}u) * scale, widen(words_{l}, 2u * {p}u + 1u) * scale);
        }
      }
    }
    workgroupBarrier();
    // The last step reads its own again.
    let next = min(k + DEPTH, COLUMNS - DEPTH);
    @unroll(l, INPUT_LOADS) {
      low_{l} = stored4(input_{l}, next / 4u + input_octet_{l} * 2u);
      high_{l} = stored4(input_{l}, next / 4u + input_octet_{l} * 2u + 1u);
      if (GATED) {
        second_low_{l} = stored4(input_{l} + COLUMNS, next / 4u + input_octet_{l} * 2u);
        second_high_{l} = stored4(input_{l} + COLUMNS, next / 4u + input_octet_{l} * 2u + 1u);
      }
    }
    @unroll(l, WEIGHT_LOADS) {
      words_{l} = weights[row_{l} * ROW_VECTORS + next / (4u * QUADS) + weight_vector_{l}];
      scale_{l} = scale_word(row_{l}, next + weight_vector_{l} * QUADS * 4u);
    }
    for (var d = 0u; d < DEPTH; d += 16u) {
      @unroll(i, M_STEPS) {
        let left_{i} = subgroupMatrixLoad<Left, row_major>(halves_tile, (my_item + {i}u * 16u) * STRIDE + d, STRIDE);
      }
      @unroll(j, N_STEPS) {
        let right_{j} = subgroupMatrixLoad<Right, col_major>(halves_tile, WEIGHTS_AT + (my_output + {j}u * 16u) * STRIDE + d, STRIDE);
        @unroll(i, M_STEPS) {
          sums_{i}_{j} = subgroupMatrixMultiplyAccumulate(left_{i}, right_{j}, sums_{i}_{j});
        }
      }
    }
    workgroupBarrier();
  }
  @unroll(i, M_STEPS) {
    @unroll(j, N_STEPS) {
      subgroupMatrixStore<row_major>(results, subgroup * 256u, sums_{i}_{j}, 16u);
      workgroupBarrier();
      for (var at = lane; at < 256u; at += 32u) {
        let item = my_item + {i}u * 16u + at / 16u;
        let output = first_output + my_output + {j}u * 16u + at % 16u;
        if (item < tile.count && output < params.part_outputs) {
          y[item_of(tile, item) * OUTPUTS + params.first_output + output] = results[subgroup * 256u + at];
        }
      }
      workgroupBarrier();
    }
  }
}
