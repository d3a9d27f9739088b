// Absorbed attention of HEADS_AT_ONCE heads of one row over one split of its sequence, TOKENS latents at a time. Each thread computes the scores of four heads
// with two latents over a part of their columns, then the sums of four columns for all the heads.
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>; // [row, head, column], laid out as latents are
@group(0) @binding(2) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

const LOWEST = -3.0e38;
const MARGIN = 20.0; // a reference that lags behind the largest score by less costs f32 nothing
const QUADS = CACHE_WIDTH / 4u;
const STRIDE = QUADS + 1u; // odd, so that threads read different banks
const BLOCKS = THREADS / PARTS; // of four heads and two latents
const SCORES = HEADS_AT_ONCE * TOKENS;
const FIRST_QUAD = VALUE_OFFSET / 4u;
const HEAD_STEP = MOST_SPLITS * PARTIAL_WIDTH;
const END_QUAD = (VALUE_OFFSET + VALUE_WIDTH + 3u) / 4u;

var<workgroup> tile: array<vec4<f32>, TOKENS * STRIDE>;
var<workgroup> parts: array<f32, PARTS * SCORES>; // [part, head, token]
var<workgroup> weights: array<f32, SCORES>; // [token, head]: exp(score - reference)
var<workgroup> shrinks: array<f32, HEADS_AT_ONCE>;
// Of the head that HEAD_THREADS threads share.
var<private> reference: f32 = LOWEST;
var<private> total: f32;

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
  // A tile's latents are asked for together, while those before it are used. Beyond the end the last latent is read again, and weighed with zero; beyond the
  // last tile, the last tile.
  let last = (end - 1u) / TOKENS * TOKENS;
  let begin = first_vector(table, position_of(split, splits, 0u));
  let begin_limit = min(TOKENS, end) * SLOT_VECTORS - 1u;
  @unroll(l, LOADS) {
    var ahead_{l} = fetch(begin, min({l}u * THREADS + thread, begin_limit));
  }
  for (var first = 0u; first < end; first += TOKENS) {
    @unroll(l, LOADS) {
      if ({l}u * THREADS + thread < TOKENS * SLOT_VECTORS) {
        stage(({l}u * THREADS + thread) / SLOT_VECTORS * STRIDE, ({l}u * THREADS + thread) % SLOT_VECTORS, ahead_{l});
      }
    }
    workgroupBarrier();
    let next = min(first + TOKENS, last);
    let base = first_vector(table, position_of(split, splits, next));
    let limit = min(TOKENS, end - next) * SLOT_VECTORS - 1u;
    @unroll(l, LOADS) {
      ahead_{l} = fetch(base, min({l}u * THREADS + thread, limit));
    }
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
    weigh(thread, first, end);
    workgroupBarrier();
    @unroll(g, HEAD_QUADS) {
      @unroll(h, 4) {
        let shrink_{g}_{h} = shrinks[{g}u * 4u + {h}u];
        if (shrink_{g}_{h} != 1.0) {
          @unroll(c, COLUMN_QUADS) {
            sum_{c}_{g}_{h} *= shrink_{g}_{h};
          }
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
  let sum = whole_total();
  let head = thread / HEAD_THREADS;
  if (thread % HEAD_THREADS == 0u && head < HEADS_AT_ONCE && first_head + head < HEADS) {
    partial[start + head * HEAD_STEP + VALUE_WIDTH] = reference;
    partial[start + head * HEAD_STEP + VALUE_WIDTH + 1u] = sum;
  }
}

// The score at a place of [head, token].
fn score_of(at: u32, first: u32, end: u32) -> f32 {
  var score = 0.0;
  @unroll(p, PARTS) {
    score += parts[{p}u * SCORES + at];
  }
  return select(LOWEST, score * SCALE, first + at % TOKENS < end);
}

// Moves the reference if a score has left it behind. Returns what sums relative to the old one are worth.
fn follow(highest: f32) -> f32 {
  if (highest <= reference + MARGIN) {
    return 1.0;
  }
  let shrink = exp(reference - highest);
  reference = highest;
  total *= shrink;
  return shrink;
}

fn first_vector(table: u32, position: u32) -> u32 {
  return (tables[table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS) * SLOT_VECTORS;
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
