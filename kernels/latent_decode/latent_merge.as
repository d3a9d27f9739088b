// What splits of a sequence's attention come to together.
import { madd } from "../device/wasm/madd";
import { exp1 } from "../device/wasm/simd";
import { splitsOf } from "./splits";

// @ts-ignore: decorator
@unmanaged
class Merge {
  step: usize;
  partial: usize;
  y: usize;
  heads: u32;
  valueWidth: u32;
  partialBytes: u32;
  mostSplits: u32;
  stripTokens: u32;
}

// A piece is a row's head. Scratch: a weight of each split.
export function latentMerge(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Merge>(args);
  const values = all.valueWidth;
  for (let item = first; item < end; item++) {
    const context = load<u32>(all.step + (item / all.heads << 4), 4) + 1;
    const splits = splitsOf(context, all.stripTokens, all.mostSplits);
    const from = all.partial + item * all.mostSplits * all.partialBytes;
    let largest: f32 = -Infinity;
    for (let s: u32 = 0; s < splits; s++) largest = max(largest, load<f32>(from + s * all.partialBytes + (values << 2)));
    let total: f32 = 0;
    for (let s: u32 = 0; s < splits; s++) {
      const at = from + s * all.partialBytes + (values << 2);
      const weight = exp1(load<f32>(at) - largest);
      store<f32>(scratch + (s << 2), weight);
      total += weight * load<f32>(at, 4);
    }
    const by = f32x4.splat(total);
    const to = all.y + item * (values << 2);
    for (let k: u32 = 0; k < values; k += 4) {
      let sum = f32x4.splat(0);
      for (let s: u32 = 0; s < splits; s++) {
        sum = madd(v128.load(from + s * all.partialBytes + (k << 2)), v128.load32_splat(scratch + (s << 2)), sum);
      }
      v128.store(to + (k << 2), f32x4.div(sum, by));
    }
  }
}
