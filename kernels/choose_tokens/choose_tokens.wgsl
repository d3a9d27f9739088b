// One row. Scores, as integers that are ordered as they are, are counted by their digits, from the highest to the lowest: that finds the last score that is chosen, and
// how many of those that equal it. Then what is chosen is given, a window of positions at a time.
@group(0) @binding(1) var<storage, read> scores: array<f32>; // [row of this run, position]
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>; // token, position, slot, table
@group(0) @binding(4) var<storage, read_write> chosen: array<u32>; // [row, STRIDE]
@fill(declarations)

const DIGIT_BITS = 11u;
const DIGITS = 1u << DIGIT_BITS;
// Digits that a thread adds up, and positions of a window: a word of bits for each thread.
const OWN_DIGITS = DIGITS / THREADS;
const WINDOW = 32u * THREADS;

// Most scores have one of a few digits, and a number that many threads count in is counted in by one after the other: so it is counted in COPIES places. After that, bits
// of a window: which scores are above the last one, and which equal it.
var<workgroup> counts: array<atomic<u32>, COPIES * DIGITS>;
var<workgroup> sums: array<u32, 2u * THREADS>;
var<workgroup> digits: u32; // of the last score that is chosen, as far as they are known
var<workgroup> missing: u32; // how many are to be chosen of those whose digits are the same

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = params.first_row + group.x;
  let context = step[row].y + 1u;
  if (context < LEAST_CONTEXT || context >= END_CONTEXT) {
    return;
  }
  let start = group.x * POSITIONS;
  if (context <= TOP_TOKENS) {
    for (var first = thread * 32u; first < context; first += WINDOW) {
      let bits = 0xffffffffu >> (32u - min(32u, context - first));
@fill(give_all)
    }
    return;
  }
  if (thread == 0u) {
    digits = 0u;
    missing = TOP_TOKENS;
  }
  for (var known = 0u; known < 32u; known += DIGIT_BITS) {
    // Of the lowest digit there are bits that the one before it has had.
    let bits = min(DIGIT_BITS, 32u - known);
    let shift = 32u - known - bits;
    for (var at = thread; at < COPIES * DIGITS; at += THREADS) {
      atomicStore(&counts[at], 0u);
    }
    workgroupBarrier();
    let before = digits;
    // Several at a time, so that they are on their way together.
    for (var first = thread; first < context; first += AT_ONCE * THREADS) {
      @unroll(i, AT_ONCE) {
        let key_{i} = key_of(start + min(first + {i}u * THREADS, context - 1u));
      }
      @unroll(i, AT_ONCE) {
        // Of the first digit there are none before it.
        if (first + {i}u * THREADS < context && (known == 0u || (key_{i} >> ((shift + bits) % 32u)) == before)) {
          atomicAdd(&counts[((key_{i} >> shift) & ((1u << bits) - 1u)) * COPIES + thread % COPIES], 1u);
        }
      }
    }
    workgroupBarrier();
    // From the highest digit on.
    let highest = DIGITS - 1u - thread * OWN_DIGITS;
    var own = 0u;
    for (var i = 0u; i < OWN_DIGITS; i++) {
      own += count_of(highest - i);
    }
    var higher = sum_before(thread, own);
    let wanted = missing;
    workgroupBarrier();
    if (higher < wanted && higher + own >= wanted) {
      var digit = highest;
      for (; higher + count_of(digit) < wanted; digit--) {
        higher += count_of(digit);
      }
      digits = (before << bits) | digit;
      missing = wanted - higher;
    }
    workgroupBarrier();
  }
  let last = digits;
  let of_equal = missing;
  var given = 0u;
  var equal_before = 0u;
  for (var window = 0u; window < context; window += WINDOW) {
    atomicStore(&counts[thread], 0u);
    atomicStore(&counts[THREADS + thread], 0u);
    workgroupBarrier();
    let end = min(context, window + WINDOW);
    for (var first = window + thread; first < end; first += AT_ONCE * THREADS) {
      @unroll(i, AT_ONCE) {
        let key_{i} = key_of(start + min(first + {i}u * THREADS, end - 1u));
      }
      @unroll(i, AT_ONCE) {
        let at_{i} = first + {i}u * THREADS;
        if (at_{i} < end && key_{i} >= last) {
          atomicOr(&counts[select(0u, THREADS, key_{i} == last) + (at_{i} - window) / 32u], 1u << (at_{i} % 32u));
        }
      }
    }
    workgroupBarrier();
    var bits = atomicLoad(&counts[thread]);
    var equal = atomicLoad(&counts[THREADS + thread]);
    // Both in one word: there are no more than 32768 positions in a window.
    let counted = countOneBits(bits) | (countOneBits(equal) << 16u);
    let before = sum_before(thread, counted);
    let all = sums[THREADS - 1u];
    let own_equal_before = min(of_equal, equal_before + (before >> 16u));
    for (var left = of_equal - own_equal_before; left > 0u && equal != 0u; left--) {
      bits |= equal & (~equal + 1u);
      equal &= equal - 1u;
    }
@fill(place)
    if (window + thread * 32u < end) {
      give(row, window + thread * 32u, bits, place);
    }
    equal_before += all >> 16u;
    workgroupBarrier();
  }
@fill(end)
}

// Sum of `value` of all threads before this one; afterwards, the last of `sums` is the sum of all of them, until a barrier.
fn sum_before(thread: u32, value: u32) -> u32 {
  var half = 0u;
  sums[thread] = value;
  for (var reach = 1u; reach < THREADS; reach *= 2u) {
    workgroupBarrier();
    var sum = sums[half + thread];
    if (thread >= reach) {
      sum += sums[half + thread - reach];
    }
    half = THREADS - half;
    sums[half + thread] = sum;
  }
  workgroupBarrier();
  let sum = sums[half + thread];
  workgroupBarrier();
  sums[thread] = sum;
  workgroupBarrier();
  return sum - value;
}

fn count_of(digit: u32) -> u32 {
  var count = 0u;
  for (var copy = 0u; copy < COPIES; copy++) {
    count += atomicLoad(&counts[digit * COPIES + copy]);
  }
  return count;
}

// Ordered as scores are; zeros of either sign are equal. By bits alone: comparisons of floats may take the smallest ones for 0, and know no order of what is no number.
fn key_of(at: u32) -> u32 {
  let bits = bitcast<u32>(scores[at]);
  return select(select(bits | 0x80000000u, ~bits, bits >> 31u == 1u), 0x80000000u, bits << 1u == 0u);
}

@fill(give)
