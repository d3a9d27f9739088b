// Attention of prefill over expanded keys and values.
import { madd } from "../device/wasm/madd";
import { exp1, exp4, largestOf, sumOf, sumsOf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Prefill {
  q: usize;
  keys: usize;
  ropeKeys: usize;
  values: usize;
  state: usize;
  out: usize;
  heads: u32;
  nope: u32;
  rope: u32;
  value: u32;
  split: u32;
  scale: f32;
  // Of this chunk and these splits.
  rows: u32;
  firstPosition: u32;
  first: u32;
  end: u32;
  start: u32;
  // A bit for each row and position that attends, and bytes of a row of them; null: all attend that see.
  chosen: usize;
  chosenBytes: u32;
}

// Scores of what is not attended to, and the largest one where nothing is: a row's weights are 0 there.
// @ts-ignore: decorator
@inline
const UNSEEN: f32 = -3.4e38, LOWEST: f32 = -3e38;

// A piece is two rows of one head in one split, which share what is read; pieces of a head come after each other. Scratch: scores of both rows.
export function mlaPrefill(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Prefill>(args);
  const pairs = (all.rows + 1) >> 1;
  for (let piece = first; piece < end; piece++) {
    const row = piece % pairs << 1;
    const head = piece / pairs % all.heads;
    attendPair(all, row, min(row + 1, all.rows - 1), head, piece / pairs / all.heads, scratch);
  }
}

function attendPair(all: Prefill, row: u32, other: u32, head: u32, at: u32, scratch: usize): void {
  const heads = all.heads, nope = all.nope, rope = all.rope;
  const firstKey = all.first + at * all.split, count = min(all.split, all.end - firstKey);
  const position = all.start + at * all.split;
  const visible = visibleOf(all, row, position, count), visibleToOther = visibleOf(all, other, position, count);
  if (visibleToOther == 0) return;
  const queryBytes = nope + rope << 2;
  const q = all.q + (row * heads + head) * queryBytes, z = all.q + (other * heads + head) * queryBytes;
  const keyBytes = heads * nope << 2;
  const scores = scratch, others = scratch + (count + 3 & ~3) * 4;
  const scale = f32x4.splat(all.scale);
  // Whoever sees less is given scores of what he does not see, and leaves them out.
  for (let key: u32 = 0; key < visibleToOther; key += 4) {
    const at1 = min(key + 1, count - 1), at2 = min(key + 2, count - 1), at3 = min(key + 3, count - 1);
    let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    const keys = all.keys + (head * nope << 2) + firstKey * keyBytes;
    const k0 = keys + key * keyBytes, k1 = keys + at1 * keyBytes, k2 = keys + at2 * keyBytes, k3 = keys + at3 * keyBytes;
    for (let d: u32 = 0; d < nope << 2; d += 16) {
      const u = v128.load(q + d), v = v128.load(z + d);
      const w0 = v128.load(k0 + d);
      a0 = madd(w0, u, a0);
      b0 = madd(w0, v, b0);
      const w1 = v128.load(k1 + d);
      a1 = madd(w1, u, a1);
      b1 = madd(w1, v, b1);
      const w2 = v128.load(k2 + d);
      a2 = madd(w2, u, a2);
      b2 = madd(w2, v, b2);
      const w3 = v128.load(k3 + d);
      a3 = madd(w3, u, a3);
      b3 = madd(w3, v, b3);
    }
    const turned = nope << 2, bytes = rope << 2;
    const ropeKeys = all.ropeKeys + firstKey * bytes;
    const r0 = ropeKeys + key * bytes, r1 = ropeKeys + at1 * bytes, r2 = ropeKeys + at2 * bytes, r3 = ropeKeys + at3 * bytes;
    for (let d: u32 = 0; d < bytes; d += 16) {
      const u = v128.load(q + turned + d), v = v128.load(z + turned + d);
      const w0 = v128.load(r0 + d);
      a0 = madd(w0, u, a0);
      b0 = madd(w0, v, b0);
      const w1 = v128.load(r1 + d);
      a1 = madd(w1, u, a1);
      b1 = madd(w1, v, b1);
      const w2 = v128.load(r2 + d);
      a2 = madd(w2, u, a2);
      b2 = madd(w2, v, b2);
      const w3 = v128.load(r3 + d);
      a3 = madd(w3, u, a3);
      b3 = madd(w3, v, b3);
    }
    v128.store(scores + (key << 2), f32x4.mul(sumsOf(a0, a1, a2, a3), scale));
    v128.store(others + (key << 2), f32x4.mul(sumsOf(b0, b1, b2, b3), scale));
  }
  if (all.chosen) {
    leaveOut(all.chosen + row * all.chosenBytes, position, visible, scores);
    if (other != row) leaveOut(all.chosen + other * all.chosenBytes, position, visibleToOther, others);
  }
  finish(all, (at * all.rows + row) * heads + head, firstKey, visible, scores, head);
  if (other != row) finish(all, (at * all.rows + other) * heads + head, firstKey, visibleToOther, others, head);
}

// Keys of a split that a row sees.
// @ts-ignore: decorator
@inline
function visibleOf(all: Prefill, row: u32, position: u32, count: u32): u32 {
  const end = all.firstPosition + row + 1;
  return end <= position ? 0 : min(count, end - position);
}

// Forgets scores of positions from `first` on that were not chosen.
function leaveOut(bits: usize, first: u32, visible: u32, scores: usize): void {
  for (let key: u32 = 0; key < visible; key++) {
    const position = first + key;
    if (!(load<u32>(bits + (position >> 5 << 2)) >> (position & 31) & 1)) store<f32>(scores + (key << 2), UNSEEN);
  }
}

// Sums a split's values, by weights relative to the largest score.
function finish(all: Prefill, item: u32, firstKey: u32, visible: u32, scores: usize, head: u32): void {
  const state = all.state + (item << 3);
  let most = f32x4.splat(LOWEST);
  let key: u32 = 0;
  for (; key + 4 <= visible; key += 4) most = f32x4.pmax(most, v128.load(scores + (key << 2)));
  let largest = largestOf(most);
  for (; key < visible; key++) largest = max(largest, load<f32>(scores + (key << 2)));
  const shift = f32x4.splat(largest);
  let sums = f32x4.splat(0);
  for (key = 0; key < visible; key += 4) {
    let p = exp4(f32x4.sub(v128.load(scores + (key << 2)), shift));
    if (key + 4 > visible) p = v128.and(p, i32x4.lt_u(i32x4(0, 1, 2, 3), i32x4.splat(visible - key)));
    v128.store(scores + (key << 2), p);
    sums = f32x4.add(sums, p);
  }
  store<f32>(state, largest);
  store<f32>(state, sumOf(sums), 4);
  const width = all.value;
  const out = all.out + item * (width << 2);
  const stride = all.heads * width << 2;
  const values = all.values + (head * width << 2) + firstKey * stride;
  for (let c: u32 = 0; c < width; c += 16) {
    const at = c << 2;
    const two = c + 4 < width, three = c + 8 < width, four = c + 12 < width;
    let a = f32x4.splat(0), b = a, d = a, e = a;
    let value = values + at;
    if (four) {
      for (key = 0; key < visible; key++, value += stride) {
        const p = v128.load32_splat(scores + (key << 2));
        a = madd(v128.load(value), p, a);
        b = madd(v128.load(value, 16), p, b);
        d = madd(v128.load(value, 32), p, d);
        e = madd(v128.load(value, 48), p, e);
      }
    } else {
      for (key = 0; key < visible; key++, value += stride) {
        const p = v128.load32_splat(scores + (key << 2));
        a = madd(v128.load(value), p, a);
        if (two) b = madd(v128.load(value, 16), p, b);
        if (three) d = madd(v128.load(value, 32), p, d);
      }
    }
    v128.store(out + at, a);
    if (two) v128.store(out + at, b, 16);
    if (three) v128.store(out + at, d, 32);
    if (four) v128.store(out + at, e, 48);
  }
}

// @ts-ignore: decorator
@unmanaged
class Merge {
  splitState: usize;
  splitOut: usize;
  state: usize;
  out: usize;
  heads: u32;
  value: u32;
  split: u32;
  // Of this chunk and these splits.
  rows: u32;
  firstPosition: u32;
  start: u32;
  end: u32;
  last: u32;
}

// A piece is a row of one head.
export function prefillMerge(args: usize, first: u32, end: u32, _scratch: usize): void {
  const all = changetype<Merge>(args);
  const items = all.rows * all.heads, bytes = all.value << 2;
  for (let item = first; item < end; item++) {
    const state = all.state + (item << 3), out = all.out + item * bytes;
    const visible = min(all.end, all.firstPosition + item / all.heads + 1);
    for (let at: u32 = 0; all.start + at * all.split < visible; at++) {
      const from = at * items + item;
      const splitState = all.splitState + (from << 3), splitOut = all.splitOut + from * bytes;
      const begins = all.start == 0 && at == 0;
      const before: f32 = begins ? -Infinity : load<f32>(state), other = load<f32>(splitState);
      const next = max(before, other);
      const kept: f32 = begins ? 0 : exp1(before - next), added = exp1(other - next);
      store<f32>(state, next);
      store<f32>(state, (begins ? <f32>0 : load<f32>(state, 4) * kept) + load<f32>(splitState, 4) * added, 4);
      const keptByAll = f32x4.splat(kept), addedByAll = f32x4.splat(added);
      for (let c: u32 = 0; c < bytes; c += 16) {
        const sum = f32x4.mul(v128.load(splitOut + c), addedByAll);
        v128.store(out + c, begins ? sum : madd(v128.load(out + c), keptByAll, sum));
      }
    }
    if (all.last != 1) continue;
    const total = f32x4.splat(load<f32>(state, 4));
    for (let c: u32 = 0; c < bytes; c += 16) v128.store(out + c, f32x4.div(v128.load(out + c), total));
  }
}
