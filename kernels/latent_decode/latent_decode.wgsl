// Absorbed attention of HEADS_AT_ONCE heads of one row over one split of its sequence, TOKENS latents at a time. Each thread computes the scores of four heads
// with two latents over a part of their columns, then the sums of four columns for all the heads.
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>; // [row, head, column], laid out as latents are
@group(0) @binding(2) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

const LOWEST = -3.0e38;
const QUADS = CACHE_WIDTH / 4u;
const STRIDE = QUADS + 1u; // odd, so that threads read different banks
const BLOCKS = THREADS / PARTS; // of four heads and two latents
const SCORES = HEADS_AT_ONCE * TOKENS;
const FIRST_QUAD = VALUE_OFFSET / 4u;
const HEAD_STEP = MOST_SPLITS * PARTIAL_WIDTH;
const END_QUAD = (VALUE_OFFSET + VALUE_WIDTH + 3u) / 4u;

var<workgroup> tile: array<vec4<f32>, TOKENS * STRIDE>;
var<workgroup> parts: array<f32, PARTS * SCORES>; // [part, head, token]
var<workgroup> scores: array<f32, SCORES>; // [head, token]
var<workgroup> weights: array<f32, SCORES>; // [token, head]: exp(score - largest)
var<workgroup> shrinks: array<f32, HEADS_AT_ONCE>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let split = group.x;
  let first_head = group.y * HEADS_AT_ONCE;
  let row = group.z;
  let context = step[row].y + 1u;
  let table = step[row].w;
  let splits = split_count(context);
  if (split >= splits) {
    return;
  }
  // Tokens of this split are counted from 0 to `end`, whatever positions they are at.
  let end = split_tokens(split, splits, context);
  let part = thread / BLOCKS;
  let my_head = thread % BLOCKS / (TOKENS / 2u) * 4u;
  let my_token = thread % (TOKENS / 2u) * 2u;
  @unroll(h, 4) {
    let query_{h} = (row * HEADS + min(first_head + my_head + {h}u, HEADS - 1u)) * QUADS;
  }
  @unroll(c, COLUMN_QUADS) {
    let column_{c} = min(FIRST_QUAD + thread + {c}u * THREADS, END_QUAD - 1u);
    @unroll(g, HEAD_QUADS) {
      @unroll(h, 4) {
        var sum_{c}_{g}_{h} = vec4(0.0);
      }
    }
  }
  // Of head `thread`, in the first threads.
  var largest = LOWEST;
  var total = 0.0;

  for (var first = 0u; first < end; first += TOKENS) {
    let position = position_of(split, splits, first);
    let base = (tables[table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS) * SLOT_VECTORS;
    for (var at = thread; at < TOKENS * SLOT_VECTORS; at += THREADS) {
      // Strips hold whole tiles. What lies beyond the end may be of another sequence: it is weighed with zero, so it must be a number.
      var words = vec4(0u);
      if (first + at / SLOT_VECTORS < end) {
        words = cache[base + at];
      }
      stage(at / SLOT_VECTORS * STRIDE, at % SLOT_VECTORS, words);
    }
    workgroupBarrier();
    @unroll(h, 4) {
      @unroll(t, 2) {
        var score_{h}_{t} = 0.0;
      }
    }
    for (var quad = part; quad < QUADS; quad += PARTS) {
      @unroll(t, 2) {
        let latent_{t} = tile[(my_token + {t}u) * STRIDE + quad];
      }
      @unroll(h, 4) {
        let q_{h} = queries[query_{h} + quad];
        @unroll(t, 2) {
          score_{h}_{t} = fma(q_{h}.x, latent_{t}.x, fma(q_{h}.y, latent_{t}.y, fma(q_{h}.z, latent_{t}.z, fma(q_{h}.w, latent_{t}.w, score_{h}_{t}))));
        }
      }
    }
    @unroll(h, 4) {
      @unroll(t, 2) {
        parts[part * SCORES + (my_head + {h}u) * TOKENS + my_token + {t}u] = score_{h}_{t};
      }
    }
    workgroupBarrier();
    for (var at = thread; at < SCORES; at += THREADS) {
      var score = 0.0;
      @unroll(p, PARTS) {
        score += parts[{p}u * SCORES + at];
      }
      scores[at] = select(LOWEST, score * SCALE, first + at % TOKENS < end);
    }
    workgroupBarrier();
    if (thread < HEADS_AT_ONCE) {
      var next = largest;
      @unroll(t, TOKENS) {
        let score_{t} = scores[thread * TOKENS + {t}u];
        next = max(next, score_{t});
      }
      let shrink = exp(largest - next);
      total *= shrink;
      @unroll(t, TOKENS) {
        let weight_{t} = select(0.0, exp(score_{t} - next), score_{t} > LOWEST);
        weights[{t}u * HEADS_AT_ONCE + thread] = weight_{t};
        total += weight_{t};
      }
      shrinks[thread] = shrink;
      largest = next;
    }
    workgroupBarrier();
    @unroll(g, HEAD_QUADS) {
      @unroll(h, 4) {
        let shrink_{g}_{h} = shrinks[{g}u * 4u + {h}u];
        @unroll(c, COLUMN_QUADS) {
          sum_{c}_{g}_{h} *= shrink_{g}_{h};
        }
      }
    }
    for (var t = 0u; t < TOKENS; t++) {
      @unroll(c, COLUMN_QUADS) {
        let latent_{c} = tile[t * STRIDE + column_{c}];
      }
      @unroll(g, HEAD_QUADS) {
        @unroll(h, 4) {
          let weight_{g}_{h} = weights[t * HEADS_AT_ONCE + {g}u * 4u + {h}u];
          @unroll(c, COLUMN_QUADS) {
            sum_{c}_{g}_{h} = fma(vec4(weight_{g}_{h}), latent_{c}, sum_{c}_{g}_{h});
          }
        }
      }
    }
    workgroupBarrier();
  }

  let start = ((row * HEADS + first_head) * MOST_SPLITS + split) * PARTIAL_WIDTH;
  @unroll(c, COLUMN_QUADS) {
    if (FIRST_QUAD + thread + {c}u * THREADS < END_QUAD) {
      @unroll(g, HEAD_QUADS) {
        @unroll(h, 4) {
          write_sums(start + ({g}u * 4u + {h}u) * HEAD_STEP, column_{c} * 4u, sum_{c}_{g}_{h}, first_head + {g}u * 4u + {h}u);
        }
      }
    }
  }
  if (thread < HEADS_AT_ONCE && first_head + thread < HEADS) {
    partial[start + thread * HEAD_STEP + VALUE_WIDTH] = largest;
    partial[start + thread * HEAD_STEP + VALUE_WIDTH + 1u] = total;
  }
}

fn write_sums(start: u32, first_column: u32, sums: vec4<f32>, head: u32) {
  if (head >= HEADS) {
    return;
  }
  for (var i = 0u; i < 4u; i++) {
    let column = first_column + i - VALUE_OFFSET; // wraps around before the first value
    if (column < VALUE_WIDTH) {
      partial[start + column] = sums[i];
    }
  }
}
