// Decode attention over paged latents.
import { Q8Slot, widenQ8 } from "../latent_cache/q8";
import { madd } from "../device/wasm/madd";
import { constant, exp4, largestOf, quad, sumOf, sumsOf } from "../device/wasm/simd";
import { copyQueries, scoreFour, valuesOfFour } from "./four_heads";
import { splitsOf } from "./splits";

// @ts-ignore: decorator
@unmanaged
class Decode {
  queries: usize;
  cache: usize;
  tables: usize;
  step: usize;
  partial: usize;
  halves: u32;
  heads: u32;
  width: u32;
  slotBytes: u32;
  valueOffset: u32;
  valueWidth: u32;
  partialBytes: u32;
  scale: f32;
  mostSplits: u32;
  stripTokens: u32;
  blockTokens: u32;
  // Null of a cache in f32 or f16.
  q8: usize;
  // Heads of a piece: two, or four.
  together: u32;
  // Of this step.
  splits: u32;
}

// Of four heads: where what is worked with, the most of their scores, and their queries lie.
// @ts-ignore: decorator
@inline
const SUMS: usize = 0, MOST: usize = 256, QUERIES: usize = 320;

// A piece is a split of a row, and two heads or four, of which the last may be missing: what is read of a latent serves all. Scratch: what four heads need, then addresses of
// latents, then scores of each head, then what latents in eight bits are widened to.
export function latentDecode(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Decode>(args);
  const together = all.together, groups = (all.heads + together - 1) / together;
  const latents = together == 4 ? scratch + QUERIES + (all.width << 4) : scratch;
  let gathered: u32 = -1;
  let count: u32 = 0;
  for (let piece = first; piece < end; piece++) {
    const part = piece / groups;
    const row = part / all.splits;
    const split = part % all.splits;
    const context = load<u32>(all.step + (row << 4), 4) + 1;
    const splits = splitsOf(context, all.stripTokens, all.mostSplits);
    if (split >= splits) continue;
    if (part != gathered) {
      count = gather(all, row, split, splits, context, latents);
      gathered = part;
      if (all.q8) widen(all, count, latents);
    }
    let head = piece % groups * together;
    if (together == 4 && head + 4 <= all.heads) {
      attendFour(all, row * all.heads + head, count, scratch, latents, partialOf(all, row * all.heads + head, split));
      continue;
    }
    const last = min(head + together, all.heads), bytes = (count + 3 & ~3) * 4;
    for (; head < last; head += 2) {
      const item = row * all.heads + head, to = partialOf(all, item, split);
      if (head + 1 < last) {
        if (all.halves) attendTwo<i16>(all, item, count, latents, bytes, to);
        else attendTwo<f32>(all, item, count, latents, bytes, to);
      } else if (all.halves) attend<i16>(all, item, count, latents, latents + bytes, to);
      else attend<f32>(all, item, count, latents, latents + bytes, to);
    }
  }
}

// @ts-ignore: decorator
@inline
function partialOf(all: Decode, item: u32, split: u32): usize {
  return all.partial + (item * all.mostSplits + split) * all.partialBytes;
}

// Four items, of a cache in f32.
function attendFour(all: Decode, item: u32, count: u32, scratch: usize, latents: usize, to: usize): void {
  const width = all.width, bytes = (count + 3 & ~3) * 4, scores = latents + bytes, headBytes = all.mostSplits * all.partialBytes;
  copyQueries(all.queries + item * width * 4, width, scratch + QUERIES);
  for (let h: u32 = 0; h < 64; h += 16) v128.store(scratch + h, f32x4.splat(-Infinity), MOST);
  for (let t: u32 = 0; t < count; t += 4) {
    scoreFour(latents + (t << 2), scratch + QUERIES, width, all.scale, scratch + SUMS, scratch + MOST, scores + (t << 2), bytes);
  }
  for (let h: u32 = 0; h < 4; h++) weigh(all, largestOf(v128.load(scratch + (h << 4), MOST)), count, scores + h * bytes, to + h * headBytes);
  const values = all.valueWidth;
  let k: u32 = 0;
  for (; k + 16 <= values; k += 16) valuesOfFour(latents, count, all.valueOffset + k << 2, scores, bytes, to + (k << 2), headBytes);
  for (let h: u32 = 0; h < 4; h++) addValues<f32>(all, k, count, latents, scores + h * bytes, to + h * headBytes);
}

// Addresses of a split's latents, to whole fours of them; those beyond the last are the last again. Returns how many there are.
function gather(all: Decode, row: u32, split: u32, splits: u32, context: u32, to: usize): u32 {
  const table = all.tables + (load<u32>(all.step + (row << 4), 12) << 2);
  let count: u32 = 0;
  for (let strip = split * all.stripTokens; strip < context; strip += splits * all.stripTokens) {
    const end = min(context, strip + all.stripTokens);
    for (let position = strip; position < end;) {
      const within = position % all.blockTokens;
      let latent = all.cache + (load<u32>(table + (position / all.blockTokens << 2)) * all.blockTokens + within) * all.slotBytes;
      // To the end of its block they lie one after the other.
      for (const next = min(end, position + all.blockTokens - within); position < next; position++, count++, latent += all.slotBytes) {
        store<u32>(to + (count << 2), latent);
      }
    }
  }
  const last = load<u32>(to + (count - 1 << 2));
  for (let beyond = count; beyond & 3; beyond++) store<u32>(to + (beyond << 2), last);
  return count;
}

// Latents in eight bits are widened once for all heads that follow.
function widen(all: Decode, count: u32, latents: usize): void {
  const slot = changetype<Q8Slot>(all.q8), fours = count + 3 & ~3;
  let to = latents + fours * (4 + (all.together << 2));
  for (let t: u32 = 0; t < fours; t++) {
    const at = latents + (t << 2);
    // The last one again.
    if (t >= count) {
      store<u32>(at, load<u32>(at - 4));
      continue;
    }
    widenQ8(slot, load<u32>(at), to);
    store<u32>(at, <u32>to);
    to += slot.width << 2;
  }
}

function attend<T>(all: Decode, item: u32, count: u32, latents: usize, scores: usize, to: usize): void {
  const width = all.width;
  const query = all.queries + item * width * 4;
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(1);
  const scale = f32x4.splat(all.scale);
  let most = f32x4.splat(-Infinity);
  for (let t: u32 = 0; t < count; t += 4) {
    const at = latents + (t << 2);
    const l0 = load<u32>(at), l1 = load<u32>(at, 4), l2 = load<u32>(at, 8), l3 = load<u32>(at, 12);
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let k: u32 = 0; k < width; k += 4) {
      const q = v128.load(query + (k << 2));
      a = madd(quad<T>(l0, k, c0, c1, c2), q, a);
      b = madd(quad<T>(l1, k, c0, c1, c2), q, b);
      c = madd(quad<T>(l2, k, c0, c1, c2), q, c);
      d = madd(quad<T>(l3, k, c0, c1, c2), q, d);
    }
    const score = f32x4.mul(sumsOf(a, b, c, d), scale);
    v128.store(scores + (t << 2), score);
    most = f32x4.pmax(most, score);
  }
  weigh(all, largestOf(most), count, scores, to);
  addValues<T>(all, 0, count, latents, scores, to);
}

// Scores become weights; what they come to is left behind the values.
function weigh(all: Decode, largest: f32, count: u32, scores: usize, to: usize): void {
  const shift = f32x4.splat(largest);
  let sums = f32x4.splat(0);
  for (let t: u32 = 0; t < count; t += 4) {
    let p = exp4(f32x4.sub(v128.load(scores + (t << 2)), shift));
    if (t + 4 > count) p = first(p, count - t);
    v128.store(scores + (t << 2), p);
    sums = f32x4.add(sums, p);
  }
  store<f32>(to + (all.valueWidth << 2), largest);
  store<f32>(to + (all.valueWidth << 2), sumOf(sums), 4);
}

// Values of one head, from the k-th on.
function addValues<T>(all: Decode, from: u32, count: u32, latents: usize, scores: usize, to: usize): void {
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(1);
  const offset = all.valueOffset, values = all.valueWidth;
  for (let k = from; k < values; k += 16) {
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let t: u32 = 0; t < count; t++) {
      const latent = load<u32>(latents + (t << 2));
      const p = v128.load32_splat(scores + (t << 2));
      a = madd(quad<T>(latent, offset + k, c0, c1, c2), p, a);
      if (k + 4 < values) b = madd(quad<T>(latent, offset + k + 4, c0, c1, c2), p, b);
      if (k + 8 < values) c = madd(quad<T>(latent, offset + k + 8, c0, c1, c2), p, c);
      if (k + 12 < values) d = madd(quad<T>(latent, offset + k + 12, c0, c1, c2), p, d);
    }
    const y = to + (k << 2);
    v128.store(y, a);
    if (k + 4 < values) v128.store(y, b, 16);
    if (k + 8 < values) v128.store(y, c, 32);
    if (k + 12 < values) v128.store(y, d, 48);
  }
}

// The same for an item and the next, to the same bits. @param bytes of the scores of one
function attendTwo<T>(all: Decode, item: u32, count: u32, latents: usize, bytes: u32, to: usize): void {
  const width = all.width;
  const query = all.queries + item * width * 4, other = query + width * 4;
  const scores = latents + bytes, scoresOfOther = scores + bytes, toOther = to + all.mostSplits * all.partialBytes;
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(1);
  const scale = f32x4.splat(all.scale);
  let most = f32x4.splat(-Infinity), mostOfOther = most;
  for (let t: u32 = 0; t < count; t += 4) {
    const at = latents + (t << 2);
    const l0 = load<u32>(at), l1 = load<u32>(at, 4), l2 = load<u32>(at, 8), l3 = load<u32>(at, 12);
    let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    let k: u32 = 0;
    for (; k + 8 <= width; k += 8) {
      const p0 = v128.load(query + (k << 2)), q0 = v128.load(other + (k << 2));
      const w00 = quad<T>(l0, k, c0, c1, c2);
      a = madd(w00, p0, a);
      e = madd(w00, q0, e);
      const w10 = quad<T>(l1, k, c0, c1, c2);
      b = madd(w10, p0, b);
      f = madd(w10, q0, f);
      const w20 = quad<T>(l2, k, c0, c1, c2);
      c = madd(w20, p0, c);
      g = madd(w20, q0, g);
      const w30 = quad<T>(l3, k, c0, c1, c2);
      d = madd(w30, p0, d);
      h = madd(w30, q0, h);
      const p1 = v128.load(query + (k << 2), 16), q1 = v128.load(other + (k << 2), 16);
      const w01 = quad<T>(l0, k + 4, c0, c1, c2);
      a = madd(w01, p1, a);
      e = madd(w01, q1, e);
      const w11 = quad<T>(l1, k + 4, c0, c1, c2);
      b = madd(w11, p1, b);
      f = madd(w11, q1, f);
      const w21 = quad<T>(l2, k + 4, c0, c1, c2);
      c = madd(w21, p1, c);
      g = madd(w21, q1, g);
      const w31 = quad<T>(l3, k + 4, c0, c1, c2);
      d = madd(w31, p1, d);
      h = madd(w31, q1, h);
    }
    if (k < width) {
      const p0 = v128.load(query + (k << 2)), q0 = v128.load(other + (k << 2));
      const w00 = quad<T>(l0, k, c0, c1, c2);
      a = madd(w00, p0, a);
      e = madd(w00, q0, e);
      const w10 = quad<T>(l1, k, c0, c1, c2);
      b = madd(w10, p0, b);
      f = madd(w10, q0, f);
      const w20 = quad<T>(l2, k, c0, c1, c2);
      c = madd(w20, p0, c);
      g = madd(w20, q0, g);
      const w30 = quad<T>(l3, k, c0, c1, c2);
      d = madd(w30, p0, d);
      h = madd(w30, q0, h);
    }
    const score = f32x4.mul(sumsOf(a, b, c, d), scale), scoreOfOther = f32x4.mul(sumsOf(e, f, g, h), scale);
    v128.store(scores + (t << 2), score);
    v128.store(scoresOfOther + (t << 2), scoreOfOther);
    most = f32x4.pmax(most, score);
    mostOfOther = f32x4.pmax(mostOfOther, scoreOfOther);
  }
  weigh(all, largestOf(most), count, scores, to);
  weigh(all, largestOf(mostOfOther), count, scoresOfOther, toOther);
  const offset = all.valueOffset, values = all.valueWidth;
  let k: u32 = 0;
  for (; k + 16 <= values; k += 16) {
    let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (let t: u32 = 0; t < count; t++) {
      const latent = load<u32>(latents + (t << 2));
      const p = v128.load32_splat(scores + (t << 2)), q = v128.load32_splat(scoresOfOther + (t << 2));
      const w0 = quad<T>(latent, offset + k, c0, c1, c2);
      a = madd(w0, p, a);
      e = madd(w0, q, e);
      const w1 = quad<T>(latent, offset + k + 4, c0, c1, c2);
      b = madd(w1, p, b);
      f = madd(w1, q, f);
      const w2 = quad<T>(latent, offset + k + 8, c0, c1, c2);
      c = madd(w2, p, c);
      g = madd(w2, q, g);
      const w3 = quad<T>(latent, offset + k + 12, c0, c1, c2);
      d = madd(w3, p, d);
      h = madd(w3, q, h);
    }
    const y = to + (k << 2), z = toOther + (k << 2);
    v128.store(y, a);
    v128.store(y, b, 16);
    v128.store(y, c, 32);
    v128.store(y, d, 48);
    v128.store(z, e);
    v128.store(z, f, 16);
    v128.store(z, g, 32);
    v128.store(z, h, 48);
  }
  addValues<T>(all, k, count, latents, scores, to);
  addValues<T>(all, k, count, latents, scoresOfOther, toOther);
}

// The first `count` (1 to 3) of four, and zeros.
// @ts-ignore: decorator
@inline
function first(v: v128, count: u32): v128 {
  return v128.and(v, i32x4.lt_u(i32x4(0, 1, 2, 3), i32x4.splat(count)));
}
