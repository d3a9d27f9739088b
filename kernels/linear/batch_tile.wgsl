// A tile of `count` items, each of a team's threads taking {n} of them.
fn multiply_{n}(thread: u32, matrix: u32, first_output: u32, first: u32, count: u32) {
  const ITEMS = {n}u;
  // Neighbouring threads are of different teams, so that both read the same inputs, then of neighbouring lanes.
  let lane = thread / NEAR % PASS_LANES;
  let team = thread / (NEAR * PASS_LANES) % (TEAMS / NEAR) * NEAR + thread % NEAR;
  let my_items = thread / (PASS_LANES * TEAMS) * ITEMS;
  // What lies beyond the last output or item is computed like it, and not written.
  @unroll(o, OUTPUTS_EACH) {
    let row_{o} = (matrix - params.first_matrix) * OUTPUTS + min(first_output + {o}u * TEAMS + team, params.part_outputs - 1u);
  }
  @unroll(l, INPUTS_EACH) {
    let at_{l} = {l}u * THREADS + thread;
    let stages_{l} = at_{l} < ITEM_TEAMS * ITEMS * CHUNK_VECTORS;
    let base_{l} = item_at(matrix, first + min(at_{l} / CHUNK_VECTORS, count - 1u)) / ITEMS_PER_INPUT * INPUT_STRIDE;
    let from_lane_{l} = at_{l} % CHUNK_VECTORS / CHUNK_QUADS;
    let from_quad_{l} = at_{l} % CHUNK_QUADS;
    let to_{l} = at_{l} / CHUNK_VECTORS * CHUNK_VECTORS + place_of(from_lane_{l}, from_quad_{l});
  }
  // What the next step needs is on its way while this one is multiplied.
  @unroll(o, OUTPUTS_EACH) {
    var next_words_{o} = weights[row_{o} * ROW_VECTORS + min(lane, ROW_VECTORS - 1u)];
    var next_scale_{o} = scale_word(row_{o}, min(lane, ROW_VECTORS - 1u) * QUADS * 4u);
  }
  @unroll(l, INPUTS_EACH) {
    let quad_{l} = min(from_lane_{l}, ROW_VECTORS - 1u) * QUADS + from_quad_{l};
    var next_stored_{l} = stored4(base_{l}, quad_{l});
    var next_values_{l} = values4(base_{l}, quad_{l});
  }
  @unroll(o, OUTPUTS_EACH) {
    @unroll(v, TOTALS_EACH) {
      var total_{o}_{v} = 0.0;
    }
    @unroll(i, ITEMS) {
      var sum_{o}_{i} = 0.0;
    }
  }
  var half = 0u;
  for (var pass_lane = 0u; pass_lane < LANES; pass_lane += PASS_LANES) {
    for (var vectors = pass_lane; vectors < ROW_VECTORS; vectors += LANES) {
      let next_vectors = step_after(vectors);
      @unroll(o, OUTPUTS_EACH) {
        let words_{o} = select(next_words_{o}, vec4(0u), RAGGED && vectors + lane >= ROW_VECTORS);
        let scale_{o} = scale_from(next_scale_{o}, min(vectors + lane, ROW_VECTORS - 1u) * QUADS * 4u);
        let zero_{o} = zero_from(next_scale_{o});
      }
      if (ROW_VECTORS > PASS_LANES) {
        let next = min(next_vectors + lane, ROW_VECTORS - 1u);
        @unroll(o, OUTPUTS_EACH) {
          next_words_{o} = weights[row_{o} * ROW_VECTORS + next];
          next_scale_{o} = scale_word(row_{o}, next * QUADS * 4u);
        }
      }
      @unroll(o, OUTPUTS_EACH) {
        @unroll(i, ITEMS) {
          var part_{o}_{i} = 0.0;
        }
      }
      for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        @unroll(l, INPUTS_EACH) {
          if (stages_{l}) {
            let value = activated4(next_stored_{l}, next_values_{l});
            staged[half + to_{l}] = select(value, vec4(0.0), RAGGED && vectors + from_lane_{l} >= ROW_VECTORS);
          }
        }
        if (ROW_VECTORS > PASS_LANES || CHUNKS > 1u) {
          let stays = chunk + 1u < CHUNKS;
          let from_vectors = select(next_vectors, vectors, stays);
          let from_quads = select(0u, (chunk + 1u) * CHUNK_QUADS, stays);
          @unroll(l, INPUTS_EACH) {
            let next_quad_{l} = min(from_vectors + from_lane_{l}, ROW_VECTORS - 1u) * QUADS + from_quads + from_quad_{l};
            next_stored_{l} = stored4(base_{l}, next_quad_{l});
            next_values_{l} = values4(base_{l}, next_quad_{l});
          }
        }
        workgroupBarrier();
        @unroll(q, CHUNK_QUADS) {
          @unroll(o, OUTPUTS_EACH) {
            var w_{o}_{q} = widen(words_{o}, chunk * CHUNK_QUADS + {q}u, zero_{o});
            if (!ONE_SCALE) {
              let column_{o}_{q} = min(((vectors + lane) * QUADS + chunk * CHUNK_QUADS + {q}u) * 4u, COLUMNS - 1u);
              w_{o}_{q} = widen_at(words_{o}, chunk * CHUNK_QUADS + {q}u, row_{o}, column_{o}_{q});
            }
          }
        }
        @unroll(i, ITEMS) {
          @unroll(q, CHUNK_QUADS) {
            let x_{i}_{q} = staged[half + (my_items + {i}u) * CHUNK_VECTORS + place_of(lane, {q}u)];
            @unroll(o, OUTPUTS_EACH) {
              part_{o}_{i} = fma(w_{o}_{q}.x, x_{i}_{q}.x, fma(w_{o}_{q}.y, x_{i}_{q}.y, fma(w_{o}_{q}.z, x_{i}_{q}.z, fma(w_{o}_{q}.w, x_{i}_{q}.w, part_{o}_{i}))));
            }
          }
        }
        half = HALF - half;
      }
      @unroll(o, OUTPUTS_EACH) {
        @unroll(i, ITEMS) {
          sum_{o}_{i} = fma(part_{o}_{i}, select(1.0, scale_{o}, ONE_SCALE), sum_{o}_{i});
        }
      }
    }
    // What the lanes of a pass have is added in order, one output of a thread at a time.
    @unroll(o, OUTPUTS_EACH) {
      @unroll(i, ITEMS) {
        partial[{o}u % TURNS * TURN + ((my_items + {i}u) * TEAMS + team) * PARTIAL_STRIDE + lane] = sum_{o}_{i};
        sum_{o}_{i} = 0.0;
      }
      workgroupBarrier();
      @unroll(v, TOTALS_EACH) {
        if ({v}u * THREADS + thread < ITEM_TEAMS * ITEMS * TEAMS) {
          let sums = {o}u % TURNS * TURN + ({v}u * THREADS + thread) * PARTIAL_STRIDE;
          @unroll(s, PASS_SEGMENTS) {
            {
              var segment = 0.0;
              @unroll(f, FOLD) {
                segment += partial[sums + {s}u * FOLD + {f}u];
              }
              total_{o}_{v} += segment;
            }
          }
        }
      }
      if (TURNS == 1u) {
        workgroupBarrier();
      }
    }
  }
  @unroll(v, TOTALS_EACH) {
    {
      let total = {v}u * THREADS + thread;
      if (total / TEAMS < count) {
        let to = item_at(matrix, first + total / TEAMS) * OUTPUTS + params.first_output;
        @unroll(o, OUTPUTS_EACH) {
          {
            let output = first_output + {o}u * TEAMS + total % TEAMS;
            if (output < params.part_outputs) {
              y[to + output] = select(total_{o}_{v}, y[to + output] + total_{o}_{v}, ADDS);
            }
          }
        }
      }
    }
  }
}
