// Decode attention where ranks share latents by tokens: what each has come to, and its part of the whole.
import { madd } from "../device/wasm/madd";
import { exp1 } from "../device/wasm/simd";
import { splitsOf } from "./splits";

// @ts-ignore: decorator
@unmanaged
class Sums {
  step: usize;
  partial: usize;
  lse: usize;
  heads: u32;
  valueWidth: u32;
  partialBytes: u32;
  mostSplits: u32;
  stripTokens: u32;
}

const LOWEST: f32 = -3e38;

// Tokens that a row attends to here.
// @ts-ignore: decorator
@inline
function contextOf(step: usize, row: u32): u32 {
  return load<u32>(step + (row << 4), 4) + 1;
}

// @ts-ignore: decorator
@inline
function log1(x: f32): f32 {
  return <f32>NativeMath.log(<f64>x);
}

// A piece is a row's head.
export function latentLse(args: usize, first: u32, end: u32, _scratch: usize): void {
  const all = changetype<Sums>(args);
  const bytes = all.partialBytes;
  for (let item = first; item < end; item++) {
    const splits = splitsOf(contextOf(all.step, item / all.heads), all.stripTokens, all.mostSplits);
    const from = all.partial + item * all.mostSplits * bytes + (all.valueWidth << 2);
    let sum = LOWEST;
    if (splits > 0) {
      let largest: f32 = -Infinity;
      for (let s: u32 = 0; s < splits; s++) largest = max(largest, load<f32>(from + s * bytes));
      let total: f32 = 0;
      for (let s: u32 = 0; s < splits; s++) total += exp1(load<f32>(from + s * bytes) - largest) * load<f32>(from + s * bytes, 4);
      sum = largest + log1(total);
    }
    store<f32>(all.lse + (item << 2), sum);
  }
}

// @ts-ignore: decorator
@unmanaged
class Share {
  step: usize;
  partial: usize;
  y: usize;
  own: usize;
  others: usize;
  heads: u32;
  valueWidth: u32;
  partialBytes: u32;
  mostSplits: u32;
  stripTokens: u32;
  rank: u32;
  firstRank: u32;
  endRank: u32;
  // Of this step.
  rows: u32;
}

// @ts-ignore: decorator
@inline
function sumOfRank(all: Share, rank: u32, item: u32): f32 {
  if (rank == all.rank) return load<f32>(all.own + (item << 2));
  return load<f32>(all.others + (((rank > all.rank ? rank - 1 : rank) * all.rows * all.heads + item) << 2));
}

// A piece is a row's head. Scratch: a weight of each split.
export function latentShare(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Share>(args);
  const values = all.valueWidth, bytes = all.partialBytes;
  for (let item = first; item < end; item++) {
    const splits = splitsOf(contextOf(all.step, item / all.heads), all.stripTokens, all.mostSplits);
    let largest: f32 = LOWEST;
    for (let rank = all.firstRank; rank < all.endRank; rank++) largest = max(largest, sumOfRank(all, rank, item));
    let total: f32 = 0;
    for (let rank = all.firstRank; rank < all.endRank; rank++) total += exp1(sumOfRank(all, rank, item) - largest);
    const reference = largest + log1(total);
    const from = all.partial + item * all.mostSplits * bytes;
    for (let s: u32 = 0; s < splits; s++) store<f32>(scratch + (s << 2), exp1(load<f32>(from + s * bytes + (values << 2)) - reference));
    const to = all.y + item * (values << 2);
    for (let k: u32 = 0; k < values; k += 4) {
      let sum = f32x4.splat(0);
      for (let s: u32 = 0; s < splits; s++) sum = madd(v128.load(from + s * bytes + (k << 2)), v128.load32_splat(scratch + (s << 2)), sum);
      v128.store(to + (k << 2), sum);
    }
  }
}
