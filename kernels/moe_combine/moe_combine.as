// Outputs of a token's experts, weighed and added in the order of its routes.
import { madd } from "../device/wasm/madd";
import { loadFew, storeFew } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Combine {
  gates: usize;
  experts: usize;
  // What they are added to; 0: nothing.
  base: usize;
  y: usize;
  width: u32;
  active: u32;
}

// A piece is a token.
export function combine(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Combine>(args);
  const width = all.width, active = all.active;
  for (let token = first; token < end; token++) {
    const gates = all.gates + (token * active << 2);
    const experts = all.experts + token * active * (width << 2);
    const row = token * (width << 2);
    for (let k: u32 = 0; k < width; k += 4) {
      const few = width - k;
      const at = k << 2;
      let sum = f32x4.splat(0);
      if (all.base) sum = few >= 4 ? v128.load(all.base + row + at) : loadFew(all.base + row + at, few);
      for (let e: u32 = 0; e < active; e++) {
        const from = experts + e * (width << 2) + at;
        sum = madd(few >= 4 ? v128.load(from) : loadFew(from, few), v128.load32_splat(gates + (e << 2)), sum);
      }
      if (few >= 4) v128.store(all.y + row + at, sum);
      else storeFew(all.y + row + at, sum, few);
    }
  }
}
