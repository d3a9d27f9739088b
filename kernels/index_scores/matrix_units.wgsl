// Scores of cached keys with one row's queries on matrix units, TOKENS keys at a time of a strip of them. A subgroup multiplies ROW_TILES times 16 heads' queries, which
// it keeps, with all keys of a tile; products go to workgroup memory, where each thread sums what is positive of four keys' products, of some heads.
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [row, head, column]
@group(0) @binding(2) var<storage, read> weights: array<f32>; // [row, head]
// Never written: what is read ahead would else be read where it is first used. Eight values in f16 each.
@group(0) @binding(3) var<storage, read_write> cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(6) var<storage, read_write> scores: array<f32>; // [row of this run, position]

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const EIGHTS = WIDTH / 8u;
// Of 16 bytes, as all that follows; odd, so that rows lie in different banks.
const KEY_STRIDE = EIGHTS | 1u;
const PRODUCT_STRIDE = TOKENS / 4u + 1u;
const PRODUCTS_AT = TOKENS * KEY_STRIDE;
// Threads that have the same four keys, each of them other heads.
const FOURS = TOKENS / 4u;
const PARTS = THREADS / FOURS;
const PART_HEADS = HEADS / PARTS;

var<workgroup> tiles: array<vec4<u32>, TILES>; // keys and products; before the first tile, queries
var<workgroup> head_weights: array<f32, HEADS>;
var<workgroup> parts: array<vec4<f32>, PARTS * FOURS>; // [part, four keys]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let row = params.first_row + group.y;
  let context = step[row].y + 1u;
  let table = step[row].w;
  let begin = group.x * STRIP;
  let end = min(context, begin + STRIP);
  if (begin >= context) {
    return;
  }
  let thread = subgroup * 32u + lane;
  for (var at = thread; at < HEADS * EIGHTS; at += THREADS) {
    let vector = (row * HEADS * EIGHTS + at) * 2u;
    tiles[at / EIGHTS * KEY_STRIDE + at % EIGHTS] = halves(q[vector], q[vector + 1u]);
  }
  for (var head = thread; head < HEADS; head += THREADS) {
    head_weights[head] = weights[row * HEADS + head];
  }
  workgroupBarrier();
  let first_head = subgroup * ROW_TILES * 16u;
  @unroll(r, ROW_TILES) {
    @unroll(k, STEPS) {
      let query_{r}_{k} = subgroupMatrixLoad<Left, row_major>(&tiles, (first_head + {r}u * 16u) * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
    }
  }
  workgroupBarrier();

  // Beyond the last key it is read again, and its score not written.
  let limit = end - 1u;
  @unroll(l, LOADS) {
    var ahead_{l} = cache[vector_of(table, min(begin + ({l}u * THREADS + thread) / EIGHTS, limit), ({l}u * THREADS + thread) % EIGHTS)];
  }
  for (var first = begin; first < end; first += TOKENS) {
    @unroll(l, LOADS) {
      if ({l}u * THREADS + thread < TOKENS * EIGHTS) {
        tiles[({l}u * THREADS + thread) / EIGHTS * KEY_STRIDE + ({l}u * THREADS + thread) % EIGHTS] = ahead_{l};
      }
    }
    workgroupBarrier();
    @unroll(l, LOADS) {
      ahead_{l} = cache[vector_of(table, min(first + TOKENS + ({l}u * THREADS + thread) / EIGHTS, limit), ({l}u * THREADS + thread) % EIGHTS)];
    }
    @unroll(t, KEY_TILES) {
      @unroll(r, ROW_TILES) {
        var product_{r}_{t} = Sums();
      }
    }
    @unroll(k, STEPS) {
      @unroll(t, KEY_TILES) {
        {
          let key = subgroupMatrixLoad<Right, col_major>(&tiles, {t}u * 16u * KEY_STRIDE + {k}u * 2u, KEY_STRIDE);
          @unroll(r, ROW_TILES) {
            product_{r}_{t} = subgroupMatrixMultiplyAccumulate(query_{r}_{k}, key, product_{r}_{t});
          }
        }
      }
    }
    @unroll(t, KEY_TILES) {
      @unroll(r, ROW_TILES) {
        let product_at_{r}_{t} = PRODUCTS_AT + (first_head + {r}u * 16u) * PRODUCT_STRIDE + {t}u * 4u;
        subgroupMatrixStore<row_major>(&tiles, product_at_{r}_{t}, product_{r}_{t}, PRODUCT_STRIDE);
      }
    }
    workgroupBarrier();
    let part = thread / FOURS;
    var sum = vec4(0.0);
    for (var head = part * PART_HEADS; head < (part + 1u) * PART_HEADS; head++) {
      let product = bitcast<vec4<f32>>(tiles[PRODUCTS_AT + head * PRODUCT_STRIDE + thread % FOURS]);
      sum = fma(vec4(head_weights[head]), max(product, vec4(0.0)), sum);
    }
    parts[thread] = sum;
    workgroupBarrier();
    if (thread < min(TOKENS, end - first)) {
      var score = 0.0;
      for (var i = 0u; i < PARTS; i++) {
        score += parts[i * FOURS + thread / 4u][thread % 4u];
      }
      scores[group.y * POSITIONS + first + thread] = score;
    }
  }
}

fn vector_of(table: u32, position: u32, eight: u32) -> u32 {
  return (tables[table + position / BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS) * SLOT_VECTORS + eight;
}
