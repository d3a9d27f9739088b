// Small-batch linear layer: LANES threads share OUTPUTS_EACH weight rows and ITEMS_AT_ONCE items, each thread a stride of the vectors of the rows.
// The order of additions does not depend on the number of items.
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> routes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<Input>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const TEAMS = THREADS / LANES;
const VALUES = OUTPUTS_EACH * ITEMS_AT_ONCE;

// Quads of the input, activated. Neighbouring threads take neighbouring vectors of weights, so the first quads of all vectors come first, then the second ones;
// an odd stride keeps writing them free of bank conflicts, too.
const STAGED_STRIDE = ROW_VECTORS | 1u;
const STAGED_QUADS = ROW_VECTORS * QUADS;

var<workgroup> staged: array<vec4<f32>, select(1u, QUADS * STAGED_STRIDE, STAGED)>;
var<workgroup> partial: array<f32, VALUES * THREADS>; // [value, team, lane]
var<workgroup> folded: array<f32, VALUES * TEAMS * SEGMENTS>;

fn input_of(base: u32, vector: u32, quad: u32) -> vec4<f32> {
  if (STAGED) {
    return staged[quad * STAGED_STRIDE + vector];
  }
  return input4(base, vector * QUADS + quad);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first_item = group.y * ITEMS_AT_ONCE;
  let matrix = matrix_of(first_item) - params.first_matrix;
  if (matrix >= params.matrices) { // also when the subtraction wrapped around
    return;
  }
  let first_output = (group.x * TEAMS + thread / LANES) * OUTPUTS_EACH;
  // What lies beyond the last row or item is computed like it, and not written.
  @unroll(o, OUTPUTS_EACH) {
    let row_{o} = matrix * OUTPUTS + min(first_output + {o}u, params.part_outputs - 1u);
  }
  @unroll(i, ITEMS_AT_ONCE) {
    let input_{i} = (min(first_item + {i}u, params.items - 1u) / ITEMS_PER_INPUT) * INPUT_STRIDE;
  }
  @unroll(o, OUTPUTS_EACH) {
    @unroll(i, ITEMS_AT_ONCE) {
      var sum_{o}_{i} = 0.0;
    }
  }
  // Weights are on their way while inputs are staged, and the next ones while these are multiplied.
  let lane = thread % LANES;
  @unroll(o, OUTPUTS_EACH) {
    var next_words_{o} = weights[row_{o} * ROW_VECTORS + min(lane, ROW_VECTORS - 1u)];
    var next_scale_{o} = scale_word(row_{o}, min(lane, ROW_VECTORS - 1u) * QUADS * 4u);
  }
  if (STAGED) {
    stage(thread, input_0, group.x + group.y == 0u);
    workgroupBarrier();
  }
  for (var vector = lane; vector < ROW_VECTORS; vector += LANES) {
    @unroll(o, OUTPUTS_EACH) {
      let words_{o} = next_words_{o};
      let scale_{o} = scale_from(next_scale_{o}, vector * QUADS * 4u);
      let zero_{o} = zero_from(next_scale_{o});
      if (LANES < ROW_VECTORS) {
        let next = min(vector + LANES, ROW_VECTORS - 1u);
        next_words_{o} = weights[row_{o} * ROW_VECTORS + next];
        next_scale_{o} = scale_word(row_{o}, next * QUADS * 4u);
      }
    }
    @unroll(o, OUTPUTS_EACH) {
      @unroll(i, ITEMS_AT_ONCE) {
        var part_{o}_{i} = 0.0;
      }
    }
    for (var first = 0u; first < QUADS; first += QUADS_AT_ONCE) {
      @unroll(q, QUADS_AT_ONCE) {
        {
          let quad = first + {q}u;
          @unroll(i, ITEMS_AT_ONCE) {
            let x_{i} = input_of(input_{i}, vector, quad);
          }
          @unroll(o, OUTPUTS_EACH) {
            var w_{o} = widen(words_{o}, quad, zero_{o});
            if (!ONE_SCALE) {
              w_{o} = widen_at(words_{o}, quad, row_{o}, min((vector * QUADS + quad) * 4u, COLUMNS - 1u));
            }
            @unroll(i, ITEMS_AT_ONCE) {
              part_{o}_{i} = fma(w_{o}.x, x_{i}.x, fma(w_{o}.y, x_{i}.y, fma(w_{o}.z, x_{i}.z, fma(w_{o}.w, x_{i}.w, part_{o}_{i}))));
            }
          }
        }
      }
    }
    @unroll(o, OUTPUTS_EACH) {
      @unroll(i, ITEMS_AT_ONCE) {
        sum_{o}_{i} = fma(part_{o}_{i}, select(1.0, scale_{o}, ONE_SCALE), sum_{o}_{i});
      }
    }
  }
  @unroll(o, OUTPUTS_EACH) {
    @unroll(i, ITEMS_AT_ONCE) {
      partial[({o}u * ITEMS_AT_ONCE + {i}u) * THREADS + thread] = sum_{o}_{i};
    }
  }
  workgroupBarrier();
  for (var j = thread; j < VALUES * TEAMS * SEGMENTS; j += THREADS) {
    var sum = 0.0;
    @unroll(f, FOLD) {
      sum += partial[j * FOLD + {f}u];
    }
    folded[j] = sum;
  }
  workgroupBarrier();
  for (var j = thread; j < VALUES * TEAMS; j += THREADS) {
    let value = j / TEAMS;
    let output = (group.x * TEAMS + j % TEAMS) * OUTPUTS_EACH + value / ITEMS_AT_ONCE;
    let item = first_item + value % ITEMS_AT_ONCE;
    if (output < params.part_outputs && item < params.items) {
      var sum = 0.0;
      @unroll(s, SEGMENTS) {
        sum += folded[j * SEGMENTS + {s}u];
      }
      let to = item * OUTPUTS + params.first_output + output;
      y[to] = select(sum, y[to] + sum, ADDS);
    }
  }
}
