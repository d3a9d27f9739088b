// Parts of a sum that ranks have computed, added in rank order.
import { constant, quad, widenHalf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Parts {
  own: usize;
  others: usize;
  y: usize;
  ranks: u32;
  rank: u32;
  halves: u32;
  // Values of a part.
  values: u32;
}

// A piece is 1024 values.
export function sumParts(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Parts>(args);
  const begin = first << 10, last = min(end << 10, all.values);
  if (all.halves) sum<i16>(all, begin, last);
  else sum<f32>(all, begin, last);
}

function sum<T>(all: Parts, begin: u32, end: u32): void {
  const c0 = constant<T>(0), c1 = constant<T>(1), bytes = all.values * sizeof<T>();
  for (let i = begin; i < end; i += 4) {
    let total = f32x4.splat(0);
    for (let r: u32 = 0; r < all.ranks; r++) {
      const part = r == all.rank ? all.own : all.others + (r < all.rank ? r : r - 1) * bytes;
      const values = i + 4 <= all.values ? quad<T>(part, i, c0, c1, c1) : few<T>(part, i, all.values - i);
      total = r == 0 ? values : f32x4.add(total, values);
    }
    // y has whole fours.
    v128.store(all.y + (i << 2), total);
  }
}

function few<T>(part: usize, i: u32, count: u32): v128 {
  let v = f32x4.splat(0);
  for (let k: u32 = 0; k < count; k++) {
    const value = isFloat<T>() ? load<f32>(part + (i + k << 2)) : widenHalf(load<u16>(part + (i + k << 1)));
    v = k == 0 ? f32x4.replace_lane(v, 0, value) : k == 1 ? f32x4.replace_lane(v, 1, value) : f32x4.replace_lane(v, 2, value);
  }
  return v;
}
