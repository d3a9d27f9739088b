// Absorbed attention on matrix units to tokens that were chosen, ROWS heads of one row at a time, TOKENS latents at a time, wherever they are cached.
//
// A tile of latents is a key tile and a value tile at once. There are two of them in workgroup memory: the sums of one tile and the scores of the next are products
// of one phase, which hides that of its scores each waits for the one before. The other phase is the softmax, beside which a third tile, on its way in registers till
// then, is stored where the sums of the last one have been made. For the scores, subgroups divide heads and columns, for the sums heads and value columns.
//
// Weights are relative to a reference, the first tile's largest score, that moves only when a score exceeds it by MARGIN (as in latent_decode/matrix_units.wgsl).
@group(0) @binding(1) var<storage, read> queries: array<vec4<u32>>; // [row of this run, head, column], laid out as latents are
// Never written, either of them. If the driver knew, it would read the next tile where it is first used (bench/NOTES.md).
@group(0) @binding(2) var<storage, read_write> cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> chosen: array<u32>; // [row of the step, LIST]: slots
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(5) var<storage, read_write> out: array<vec4<u32>>; // [row of this run, head, column], in f16

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const LOWEST = -3.0e38;
const MARGIN = 15.0;
const TOKENS = 16u;
const VECTORS = CACHE_WIDTH / 8u;
const STRIDE = VECTORS | 1u; // odd, so that rows lie in different banks
const TILE = TOKENS * STRIDE;
const ROWS = HEAD_TILES * 16u;
const SUBGROUPS = HEAD_TILES * WIDTH_PARTS;
const THREADS = SUBGROUPS * 32u;
const LANES = 4u; // threads of a head in the softmax, each with four tokens
const WEIGHT_STRIDE = TOKENS / 4u + 2u; // pairs of words
const SPAN = THREADS / TOKENS; // threads of a token, each with every SPAN-th vector
const SUM_PARTS = HEAD_TILES / ROW_TILES; // of the heads

// Matrices begin at multiples of 16 bytes: their loads round addresses down to that.
struct Memory {
  tiles: array<vec4<u32>, 2u * TILE>, // before the first, queries
  scores: array<vec4<f32>, max(WIDTH_PARTS * ROWS * 4u, SUBGROUPS * 64u)>, // [part of the columns, head, token]; sums on their way
  weights: array<vec2<u32>, ROWS * WEIGHT_STRIDE>, // four of them each
  factors: array<f32, ROWS>,
  grown: u32,
}
var<workgroup> memory: Memory;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let first_head = group.x * ROWS;
  let row = group.y;
  let count = min(TOP_TOKENS, step[params.first_row + row].y + 1u);
  let list = (params.first_row + row) * LIST;
  let thread = subgroup * 32u + lane;
  let my_token = thread / SPAN;
  let my_vector = thread % SPAN;
  let to = my_token * STRIDE + my_vector;

  // Everything that can be is on its way at once. Beyond the last token it is read again, and weighed with zero; heads beyond the last are that one, and not written.
  var slot = chosen[list + min(my_token, count - 1u)];
  var asked = TOKENS + my_token;
  @unroll(i, LOADS) {
    var ahead_{i}: vec4<u32>;
  }
  @unroll(i, REST) {
    var ahead_rest: vec4<u32>;
  }
@fill(ask)
  if (thread == 0u) {
    memory.grown = 0u;
  }
  let score_tile = subgroup % HEAD_TILES;
  let width_part = subgroup / HEAD_TILES;
  let sum_tile = subgroup % SUM_PARTS * ROW_TILES;
  let column_part = subgroup / SUM_PARTS;
  let scratch = subgroup * 64u;

  // Queries go by way of workgroup memory, where they are gone afterwards: no driver can load them again for every tile.
  @unroll(k, WIDTH_STEPS) {
    var query_{k}: Left;
  }
  @unroll(h, HEAD_ROUNDS) {
    @unroll(i, QUERY_LOADS) {
      let staged_{h}_{i} = min({i}u * THREADS + thread, 32u * VECTORS - 1u);
      let head_{h}_{i} = min(first_head + {h}u * 32u + staged_{h}_{i} / VECTORS, HEADS - 1u);
      let query_of_{h}_{i} = queries[(row * HEADS + head_{h}_{i}) * VECTORS + staged_{h}_{i} % VECTORS];
    }
    @unroll(i, QUERY_LOADS) {
      memory.tiles[staged_{h}_{i} / VECTORS * STRIDE + staged_{h}_{i} % VECTORS] = query_of_{h}_{i};
    }
    workgroupBarrier();
    if (score_tile / 2u == {h}u) {
      @unroll(k, WIDTH_STEPS) {
        query_{k} = subgroupMatrixLoad<Left, row_major>(&memory.tiles, score_tile % 2u * TILE + (width_part * WIDTH_STEPS + {k}u) * 2u, STRIDE);
      }
    }
    workgroupBarrier();
  }
  @unroll(r, ROW_TILES) {
    @unroll(c, COLUMN_STEPS) {
      var sums_{r}_{c}: Sums;
    }
  }

  var latents = TILE;
  var next = 0u;
@fill(store_tile)
@fill(ask)
  workgroupBarrier();
@fill(scores)

  // LANES threads share a head; where there are more, they do what the last ones do.
  let my_row = min(thread / LANES, ROWS - 1u);
  let my_lane = thread % LANES;
  var reference = 0.0;
  var total = 0.0;
  var first = 0u;
  for (; first < count;) {
    // In the inner loop references stay: what moving them takes of registers and order would cost every tile.
    var score: vec4<f32>;
    var highest: f32;
    var added: f32;
    for (; first < count;) {
      let stored = latents;
      latents = next;
      next = stored;
      workgroupBarrier();

      // In powers of two. All scores are read before a weight is stored: what is read after a store waits for it (bench/NOTES.md).
      score = memory.scores[my_row * 4u + my_lane];
      @unroll(p, OTHER_WIDTH_PARTS) {
        score += memory.scores[(({p}u + 1u) * ROWS + my_row) * 4u + my_lane];
      }
      score = select(vec4(LOWEST), fma(score, vec4(SCALE), vec4(-reference)), vec4(first + my_lane * 4u) + vec4(0u, 1u, 2u, 3u) < vec4(count));
      highest = max(max(score.x, score.y), max(score.z, score.w));
      let weights = exp2(score);
      added = (weights.x + weights.y) + (weights.z + weights.w);
      memory.weights[my_row * WEIGHT_STRIDE + my_lane] = vec2(pack2x16float(weights.xy), pack2x16float(weights.zw));
@fill(store_tile)
      if (first == 0u || highest > MARGIN) {
        memory.grown = 1u;
      }
      // Asked for before it is known whether weights stand, the next tile has all of that on its way.
@fill(ask)
      if (workgroupUniformLoad(&memory.grown) != 0u) {
        break;
      }
      total += added;
@fill(sums)
@fill(scores)
      first += TOKENS;
    }
    if (first >= count) {
      break;
    }
    let begins = first == 0u;
@fill(reference_shift)
    let moved = exp2(score - vec4(shift));
    added += (moved.x + moved.y) + (moved.z + moved.w);
    memory.weights[my_row * WEIGHT_STRIDE + my_lane] = vec2(pack2x16float(moved.xy), pack2x16float(moved.zw));
    workgroupBarrier();
    if (!begins) {
      @unroll(r, ROW_TILES) {
        @unroll(c, COLUMN_STEPS) {
          subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{r}_{c}, 4u);
          workgroupBarrier();
          for (var j = lane; j < 64u; j += 32u) {
            memory.scores[scratch + j] *= memory.factors[(sum_tile + {r}u) * 16u + j / 4u];
          }
          workgroupBarrier();
          sums_{r}_{c} = subgroupMatrixLoad<Sums, row_major>(&memory.scores, scratch, 4u);
          workgroupBarrier();
        }
      }
    }
    if (thread == 0u) {
      memory.grown = 0u;
    }
    total += added;
@fill(sums)
@fill(scores)
    first += TOKENS;
  }

  total += subgroupShuffleXor(total, 1u);
  total += subgroupShuffleXor(total, 2u);
  memory.factors[my_row] = 1.0 / total;
  workgroupBarrier();
  @unroll(r, ROW_TILES) {
    let tile_head_{r} = (sum_tile + {r}u) * 16u + lane / 2u;
    let head_{r} = first_head + tile_head_{r};
    let out_{r} = ((row * HEADS + head_{r}) * VALUE_WIDTH + column_part * 16u) / 8u + lane % 2u;
    @unroll(c, COLUMN_STEPS) {
      subgroupMatrixStore<row_major>(&memory.scores, scratch, sums_{r}_{c}, 4u);
      workgroupBarrier();
      if (head_{r} < HEADS) {
        let factor = vec4(memory.factors[tile_head_{r}]);
        out[out_{r} + {c}u * COLUMN_PARTS * 2u] = halves(memory.scores[scratch + lane * 2u] * factor, memory.scores[scratch + lane * 2u + 1u] * factor);
      }
      workgroupBarrier();
    }
  }
}
