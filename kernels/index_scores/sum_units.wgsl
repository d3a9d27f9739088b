What both shaders for matrix units have in common. Products are [key, head]: a key's four threads or eight read whole stretches of them, and rows that are stored together
lie in different banks.
@section(layout)
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [row, head, column]
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>; // [row, head]
// Never written: what is read ahead would else be read where it is first used. Eight values in f16 each, or sixteen bytes.
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
// Threads of a subgroup that have other keys, and keys of each.
const KEY_GROUPS = 32u / PARTS;
const KEYS_EACH = TOKENS / KEY_GROUPS;
// Which of a tile's keys a thread has in the end; more threads than there are keys have the same.
fn key_of(lane: u32) -> u32 {
  let part = lane % PARTS;
  return select(part % 2u, part % 2u * 2u + part / 2u % 2u, KEYS_EACH == 4u) * KEY_GROUPS + lane / PARTS;
}
@section(sum)
    @unroll(i, KEYS_EACH) {
      var sum_{i} = 0.0;
    }
    @unroll(h, QUAD_STEPS) {
      @unroll(i, KEYS_EACH) {
        {
          let positive = max(bitcast<vec4<f32>>(PRODUCTS[products_at + {i}u * KEY_GROUPS * PRODUCT_STRIDE + {h}u * PARTS]), vec4(0.0)) * weight_{h};
          sum_{i} += (positive.x + positive.y) + (positive.z + positive.w);
        }
      }
    }
    // Threads that have parts of the same keys give each other what the other goes on with.
    let odd = part % 2u == 1u;
@fill(exchanged)
    for (var distance = KEYS_EACH; distance < PARTS; distance *= 2u) {
      sum += subgroupShuffleXor(sum, distance);
    }
@section(exchange_4)
    let half_0 = select(sum_0, sum_2, odd) + subgroupShuffleXor(select(sum_2, sum_0, odd), 1u);
    let half_1 = select(sum_1, sum_3, odd) + subgroupShuffleXor(select(sum_3, sum_1, odd), 1u);
    let second = part / 2u % 2u == 1u;
    var sum = select(half_0, half_1, second) + subgroupShuffleXor(select(half_1, half_0, second), 2u);
@section(exchange_2)
    var sum = select(sum_0, sum_1, odd) + subgroupShuffleXor(select(sum_1, sum_0, odd), 1u);
@section(strip)
  // Every workgroup of a row, or of rows that share keys, has as many blocks.
  let strip = ((context + BLOCK_TOKENS - 1u) / BLOCK_TOKENS + groups.x - 1u) / groups.x * BLOCK_TOKENS;
  let begin = group.x * strip;
  let end = min(context, begin + strip);
  if (begin >= context) {
    return;
  }
  let thread = subgroup * 32u + lane;
  for (var i = thread; i < strip / BLOCK_TOKENS; i += THREADS) {
    blocks[i] = tables[table + min(begin / BLOCK_TOKENS + i, (end - 1u) / BLOCK_TOKENS)] * BLOCK_TOKENS;
  }
  workgroupBarrier();
  // Beyond the last key it is read again, and its score not written.
  let limit = end - 1u;
