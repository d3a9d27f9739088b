// One row. Scores, as integers that are ordered as they are, are counted by their digits, from the highest to the lowest: that finds the last score that is chosen, and
// how many of those that equal it. Then each thread gives what is chosen of positions that follow each other.
@group(0) @binding(1) var<storage, read> scores: array<f32>; // [row of this run, position]
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(4) var<storage, read_write> chosen: array<u32>; // [row, STRIDE]

const DIGITS = 256u;

var<workgroup> counts: array<atomic<u32>, DIGITS>;
var<workgroup> digits: u32; // of the last score that is chosen, as far as they are known
var<workgroup> missing: u32; // how many are to be chosen of those whose digits are the same
var<workgroup> above: array<u32, THREADS>;
var<workgroup> equal: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = params.first_row + group.x;
  let context = step[row].y + 1u;
  let start = group.x * POSITIONS;
  // Whole words of bits.
  let mine = (context + 32u * THREADS - 1u) / (32u * THREADS) * 32u;
  let begin = min(context, thread * mine);
  let end = min(context, begin + mine);
  if (context <= TOP_TOKENS) {
    var place = begin;
    for (var first = begin; first < end; first += 32u) {
      let count = min(32u, end - first);
      give(row, first, 0xffffffffu >> (32u - count), place);
      place += count;
    }
    return;
  }
  if (thread == 0u) {
    digits = 0u;
    missing = TOP_TOKENS;
  }
  for (var shift = 32u; shift > 0u;) {
    shift -= 8u;
    for (var digit = thread; digit < DIGITS; digit += THREADS) {
      atomicStore(&counts[digit], 0u);
    }
    workgroupBarrier();
    for (var position = thread; position < context; position += THREADS) {
      let key = key_of(start + position);
      // Of the first digit there are none before it.
      if (shift == 24u || (key >> ((shift + 8u) % 32u)) == digits) {
        atomicAdd(&counts[(key >> shift) % DIGITS], 1u);
      }
    }
    workgroupBarrier();
    let wanted = missing;
    let known = digits;
    workgroupBarrier();
    for (var digit = thread; digit < DIGITS; digit += THREADS) {
      var higher = 0u;
      for (var other = digit + 1u; other < DIGITS; other++) {
        higher += atomicLoad(&counts[other]);
      }
      if (higher < wanted && higher + atomicLoad(&counts[digit]) >= wanted) {
        digits = known * DIGITS + digit;
        missing = wanted - higher;
      }
    }
    workgroupBarrier();
  }
  let last = digits;
  let of_equal = missing;
  var own_above = 0u;
  var own_equal = 0u;
  for (var position = begin; position < end; position++) {
    let key = key_of(start + position);
    own_above += u32(key > last);
    own_equal += u32(key == last);
  }
  above[thread] = own_above;
  equal[thread] = own_equal;
  workgroupBarrier();
  var before_above = 0u;
  var before_equal = 0u;
  for (var other = 0u; other < thread; other++) {
    before_above += above[other];
    before_equal += equal[other];
  }
  var place = before_above + min(before_equal, of_equal);
  for (var first = begin; first < end; first += 32u) {
    var bits = 0u;
    for (var position = first; position < min(end, first + 32u); position++) {
      let key = key_of(start + position);
      if (key > last || (key == last && before_equal < of_equal)) {
        bits |= 1u << (position - first);
      }
      before_equal += u32(key == last);
    }
    give(row, first, bits, place);
    place += countOneBits(bits);
  }
}

// Ordered as scores are; zeros of either sign are equal.
fn key_of(at: u32) -> u32 {
  let score = scores[at];
  let bits = bitcast<u32>(select(score, 0.0, score == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}
