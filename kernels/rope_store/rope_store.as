// Rotates queries and key, normalises the latent, changes its basis and writes both into the cache, in f32 or in eight bits.
import { madd } from "../device/wasm/madd";
import { squares } from "../rms_norm/rms_norm";
import { Q8Slot, roundQ8 } from "../latent_cache/q8";
import { loadFew, sumOf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class RopeStore {
  x: usize;
  basis: usize;
  step: usize;
  table: usize;
  q: usize;
  queries: usize;
  cache: usize;
  latent: u32;
  keyWidth: u32;
  ropeOffset: u32;
  ropeWidth: u32;
  width: u32;
  rowBytes: u32;
  heads: u32;
  queryWidth: u32;
  // 0: diagonal, 1: dense, 2: sliced.
  transform: u32;
  slicedWidth: f32;
  eps: f32;
  interleaved: u32;
  slotBytes: u32;
  // Null of a cache in f32.
  q8: usize;
  positions: u32;
  // Of this step.
  absorbedRows: u32;
}

// The slot of a token whose latent is not stored.
const NO_SLOT: u32 = 0x7fffffff;

// A piece is a row.
export function ropeStore(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<RopeStore>(args);
  const rope = all.ropeWidth;
  for (let row = first; row < end; row++) {
    const x = all.x + row * all.rowBytes;
    const step = all.step + (row << 4);
    const place = load<u32>(step, 8);
    // Of tokens of short sequences there are other rows behind those of all positions.
    const turns = all.table + (load<u32>(step, 4) + (place >> 31) * all.positions) * (rope << 2);
    if ((place & 0x7fffffff) != NO_SLOT) storeLatent(all, x, turns, all.cache + (place & 0x7fffffff) * all.slotBytes, scratch);
    for (let head: u32 = 0; head < all.heads; head++) {
      const item = row * all.heads + head;
      const from = all.q + ((item + 1) * all.queryWidth - rope << 2);
      rotate(all, turns, from, row >= all.absorbedRows ? from : all.queries + (item * all.width + all.ropeOffset << 2));
    }
  }
}

function storeLatent(all: RopeStore, x: usize, turns: usize, slot: usize, scratch: usize): void {
  const values = all.q8 ? scratch : slot;
  const scale: f32 = all.transform == 2 ? 1 : 1 / sqrt(squares(x, all.latent) / <f32>all.latent + all.eps);
  keys(all, x, scale, values);
  for (let k = all.keyWidth; k < all.width; k++) store<f32>(values + (k << 2), 0);
  rotate(all, turns, x + (all.latent << 2), values + (all.ropeOffset << 2));
  if (all.q8) roundQ8(changetype<Q8Slot>(all.q8), values, slot);
}

function keys(all: RopeStore, x: usize, scale: f32, to: usize): void {
  const latent = all.latent, width = all.keyWidth;
  if (all.transform == 0) {
    for (let k: u32 = 0; k < width; k++) store<f32>(to + (k << 2), load<f32>(x + (k << 2)) * scale * load<f32>(all.basis + (k << 2)));
    return;
  }
  let squared: f32 = 0;
  for (let k: u32 = 0; k < width; k++) {
    const row = all.basis + k * (latent << 2);
    let a = f32x4.splat(0), b = a;
    let j: u32 = 0;
    for (; j + 8 <= latent; j += 8) {
      a = madd(v128.load(row + (j << 2)), v128.load(x + (j << 2)), a);
      b = madd(v128.load(row + (j << 2), 16), v128.load(x + (j << 2), 16), b);
    }
    for (; j < latent; j += 4) {
      const few = latent - j;
      if (few >= 4) a = madd(v128.load(row + (j << 2)), v128.load(x + (j << 2)), a);
      else a = madd(loadFew(row + (j << 2), few), loadFew(x + (j << 2), few), a);
    }
    const value = sumOf(f32x4.add(a, b)) * scale;
    store<f32>(to + (k << 2), value);
    squared += value * value;
  }
  if (all.transform == 2) {
    const by: f32 = 1 / sqrt(squared / all.slicedWidth + all.eps);
    for (let k: u32 = 0; k < width; k++) store<f32>(to + (k << 2), load<f32>(to + (k << 2)) * by);
  }
}

// Two places at a time, which may be where they are read.
function rotate(all: RopeStore, turns: usize, from: usize, to: usize): void {
  const pairs = all.ropeWidth >> 1;
  const apart: usize = all.interleaved ? 4 : pairs << 2;
  const step: usize = all.interleaved ? 8 : 4;
  for (let pair: u32 = 0; pair < pairs; pair++) {
    const cos = load<f32>(turns + (pair << 3)), sin = load<f32>(turns + (pair << 3), 4);
    const at = pair * step;
    const a = load<f32>(from + at), b = load<f32>(from + at + apart);
    store<f32>(to + at, a * cos - b * sin);
    store<f32>(to + at + apart, b * cos + a * sin);
  }
}
