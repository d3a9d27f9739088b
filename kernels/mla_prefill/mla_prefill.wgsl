// Causal flash attention of TILE queries of one head over a split of expanded keys, TILE keys at a time. Splits and tiles begin at fixed positions, so results do not
// depend on how the prompt was cut into chunks.
//
// Each thread computes the scores of four queries with two keys, then sums of values for the same four queries.
const THREADS = TILE / 4u * LANES;
const STRIDE = CHUNK + 1u; // odd, so that rows lie in different banks
const SCORE_STRIDE = TILE / 4u + 1u;
const LOWEST = -3.0e38; // a large finite number: the difference of two infinities is NaN

var<workgroup> query_tile: array<vec4<f32>, TILE * STRIDE>;
var<workgroup> key_tile: array<vec4<f32>, TILE * STRIDE>;
var<workgroup> scores: array<vec4<f32>, TILE * SCORE_STRIDE>; // [key, four queries]; in the end their weights

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = group.y;
  let four = thread / LANES;
  let lane = thread % LANES;
  let first_row = group.x * TILE + four * 4u;

  // No query of this workgroup sees beyond its last one.
  let split_key = params.first + group.z * SPLIT;
  let split_start = params.start + group.z * SPLIT;
  let visible = params.first_position + min(params.rows, (group.x + 1u) * TILE);
  let count = min(min(SPLIT, params.end - split_key), visible - min(visible, split_start));
  if (count == 0u) {
    return;
  }

  var largest = vec4(LOWEST);
  var total = vec4(0.0);
  @unroll(a, 4) {
    let row_{a} = first_row + {a}u;
    let item_{a} = (group.z * params.rows + min(row_{a}, params.rows - 1u)) * HEADS + head;
    @unroll(c, VALUE_STEPS) {
      var sums_{a}_{c} = vec4(0.0);
    }
  }
  for (var first = 0u; first < count; first += TILE) {
    @unroll(a, 4) {
      @unroll(b, 2) {
        var score_{a}_{b} = 0.0;
      }
    }
    for (var chunk = 0u; chunk < QUERY_QUADS; chunk += CHUNK) {
      // What lies beyond the last query or key is computed like it, and not used.
      @unroll(l, TILE_LOADS) {
        let place_{l} = {l}u * THREADS + thread;
        let quad_{l} = chunk + place_{l} % CHUNK;
        query_tile[place_{l} / CHUNK * STRIDE + place_{l} % CHUNK] = query4(min(group.x * TILE + place_{l} / CHUNK, params.rows - 1u), head, quad_{l});
        key_tile[place_{l} / CHUNK * STRIDE + place_{l} % CHUNK] = key4(split_key + min(first + place_{l} / CHUNK, count - 1u), head, quad_{l});
      }
      workgroupBarrier();
      for (var quad = 0u; quad < CHUNK; quad++) {
        @unroll(b, 2) {
          let key_{b} = key_tile[(lane + {b}u * LANES) * STRIDE + quad];
        }
        @unroll(a, 4) {
          let query_{a} = query_tile[(four * 4u + {a}u) * STRIDE + quad];
          @unroll(b, 2) {
            score_{a}_{b} = fma(query_{a}.x, key_{b}.x, fma(query_{a}.y, key_{b}.y, fma(query_{a}.z, key_{b}.z, fma(query_{a}.w, key_{b}.w, score_{a}_{b}))));
          }
        }
      }
      workgroupBarrier();
    }
    @unroll(b, 2) {
      let at_{b} = first + lane + {b}u * LANES;
      let seen_{b} = vec4(at_{b} < count) & (vec4(split_start + at_{b}) <= vec4(params.first_position + first_row) + vec4(0u, 1u, 2u, 3u)) &
        attend_to(first_row, split_start + min(at_{b}, count - 1u));
      let scaled_{b} = select(vec4(LOWEST), vec4(score_0_{b}, score_1_{b}, score_2_{b}, score_3_{b}) * SCALE, seen_{b});
      scores[(lane + {b}u * LANES) * SCORE_STRIDE + four] = scaled_{b};
    }
    workgroupBarrier();
    var next = largest;
    for (var key = 0u; key < TILE; key++) {
      next = max(next, scores[key * SCORE_STRIDE + four]);
    }
    workgroupBarrier();
    @unroll(b, 2) {
      scores[(lane + {b}u * LANES) * SCORE_STRIDE + four] = select(vec4(0.0), exp(scaled_{b} - next), seen_{b});
    }
    let shrink = exp(largest - next);
    largest = next;
    total *= shrink;
    @unroll(a, 4) {
      @unroll(c, VALUE_STEPS) {
        sums_{a}_{c} *= shrink[{a}];
      }
    }
    workgroupBarrier();
    for (var key = 0u; key < min(TILE, count - first); key++) {
      @unroll(c, VALUE_STEPS) {
        let value_{c} = value4(split_key + first + key, head, lane + {c}u * LANES);
      }
      let weights = scores[key * SCORE_STRIDE + four];
      total += weights;
      @unroll(a, 4) {
        @unroll(c, VALUE_STEPS) {
          sums_{a}_{c} = fma(vec4(weights[{a}]), value_{c}, sums_{a}_{c});
        }
      }
    }
    workgroupBarrier();
  }

  @unroll(a, 4) {
    if (row_{a} < params.rows) {
      if (lane == 0u) {
        state[item_{a}] = vec2(largest[{a}], total[{a}]);
      }
      @unroll(c, VALUE_STEPS) {
        write_out(item_{a}, lane + {c}u * LANES, sums_{a}_{c});
      }
    }
  }
}
