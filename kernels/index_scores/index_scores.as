// Scores of cached index keys with a row's queries.
import { madd } from "../device/wasm/madd";
import { constant, quad, storeFew, sumsOf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Scores {
  q: usize;
  weights: usize;
  cache: usize;
  tables: usize;
  step: usize;
  scores: usize;
  // Of keys: 0 f32, 1 f16, 2 fp8 with a scale behind whole vectors of 16 bytes.
  format: u32;
  heads: u32;
  width: u32;
  slotBytes: u32;
  positions: u32;
  blockTokens: u32;
  // Of this run.
  firstRow: u32;
  blocks: u32;
}

// A piece is a block of one row's sequence. Scratch: four keys as f32.
export function indexScores(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Scores>(args);
  for (let piece = first; piece < end; piece++) {
    const at = piece / all.blocks, block = piece % all.blocks;
    const row = all.firstRow + at;
    const context = load<u32>(all.step + (row << 4), 4) + 1, from = block * all.blockTokens;
    if (from >= context) continue;
    const table = all.tables + (load<u32>(all.step + (row << 4), 12) << 2);
    const keys = all.cache + load<u32>(table + (block << 2)) * all.blockTokens * all.slotBytes;
    const count = min(all.blockTokens, context - from);
    const to = all.scores + (at * all.positions + from << 2);
    if (all.format == 2) score<u8>(all, row, keys, count, to, scratch);
    else if (all.format == 1) score<i16>(all, row, keys, count, to, scratch);
    else score<f32>(all, row, keys, count, to, scratch);
  }
}

function score<T>(all: Scores, row: u32, keys: usize, count: u32, to: usize, scratch: usize): void {
  const heads = all.heads, width = all.width, bytes = width << 2;
  const c0 = constant<T>(0), c1 = constant<T>(1), c2 = constant<T>(sizeof<T>() == 1 ? 2 : 1);
  const k1 = scratch + bytes, k2 = k1 + bytes, k3 = k2 + bytes;
  const none = f32x4.splat(0);
  for (let t: u32 = 0; t < count; t += 4) {
    // Beyond the last key it is read again, and its score not kept.
    for (let i: u32 = 0; i < 4; i++) {
      const key = keys + min(t + i, count - 1) * all.slotBytes, widened = scratch + i * bytes;
      if (sizeof<T>() == 1) {
        const scale = v128.load32_splat(key + (width + 15 & ~15));
        for (let k: u32 = 0; k < width; k += 4) v128.store(widened + (k << 2), f32x4.mul(quad<T>(key, k, c0, c1, c2), scale));
      } else {
        for (let k: u32 = 0; k < width; k += 4) v128.store(widened + (k << 2), quad<T>(key, k, c0, c1, c2));
      }
    }
    let sum = none;
    for (let head: u32 = 0; head < heads; head += 2) {
      // The last one may be alone, and counts once.
      const item = row * heads + head, other = row * heads + min(head + 1, heads - 1);
      const q = all.q + item * bytes, z = all.q + other * bytes;
      let a = none, b = none, c = none, d = none, e = none, f = none, g = none, h = none;
      for (let k: u32 = 0; k < bytes; k += 16) {
        const u = v128.load(q + k), v = v128.load(z + k);
        const w0 = v128.load(scratch + k);
        a = madd(w0, u, a);
        e = madd(w0, v, e);
        const w1 = v128.load(k1 + k);
        b = madd(w1, u, b);
        f = madd(w1, v, f);
        const w2 = v128.load(k2 + k);
        c = madd(w2, u, c);
        g = madd(w2, v, g);
        const w3 = v128.load(k3 + k);
        d = madd(w3, u, d);
        h = madd(w3, v, h);
      }
      sum = madd(f32x4.pmax(sumsOf(a, b, c, d), none), v128.load32_splat(all.weights + (item << 2)), sum);
      if (other != item) sum = madd(f32x4.pmax(sumsOf(e, f, g, h), none), v128.load32_splat(all.weights + (other << 2)), sum);
    }
    if (t + 4 <= count) v128.store(to + (t << 2), sum);
    else storeFew(to + (t << 2), sum, count - t);
  }
}
