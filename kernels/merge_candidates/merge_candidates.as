// Merges the lists of a row's chunks.

// @ts-ignore: decorator
@unmanaged
class MergeLists {
  logits: usize;
  sampling: usize;
  chunkLists: usize;
  lists: usize;
  vocabulary: u32;
  chunks: u32;
  listWords: u32;
  header: u32;
  // Of this step.
  count: u32;
  firstToken: u32;
}

// A piece is a row. Scratch: how much of each chunk's list was taken.
export function mergeCandidates(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<MergeLists>(args);
  const chunks = all.chunks, bytes = all.listWords << 2;
  for (let row = first; row < end; row++) {
    const from = all.chunkLists + row * chunks * bytes;
    const to = all.lists + row * bytes;
    memory.fill(scratch, 0, chunks << 2);
    for (let k: u32 = 0; k < all.count; k++) {
      let best: usize = 0, at: u32 = 0;
      for (let c: u32 = 0; c < chunks; c++) {
        const taken = load<u32>(scratch + (c << 2));
        if (taken == all.count) continue;
        const pair = from + c * bytes + (all.header + 2 * taken << 2);
        // Of equals the lower token: chunks are in order.
        if (best == 0 || load<f32>(pair, 4) > load<f32>(best, 4)) {
          best = pair;
          at = c;
        }
      }
      store<u64>(to + (all.header + 2 * k << 2), load<u64>(best));
      store<u32>(scratch + (at << 2), load<u32>(scratch + (at << 2)) + 1);
    }
    let largest: f32 = -Infinity, drawn = from;
    for (let c: u32 = 0; c < chunks; c++) {
      const list = from + c * bytes;
      largest = max(largest, load<f32>(list));
      if (load<f32>(list, 12) > load<f32>(drawn, 12)) drawn = list;
    }
    const sampling = all.sampling + (row << 4);
    const by = load<f32>(sampling, 8);
    let plain: f64 = 0, tempered: f64 = 0;
    for (let c: u32 = 0; c < chunks; c++) {
      const list = from + c * bytes;
      const below = <f64>load<f32>(list) - <f64>largest;
      plain += <f64>load<f32>(list, 20) * NativeMath.exp(below);
      tempered += <f64>load<f32>(list, 24) * NativeMath.exp(below * <f64>by);
    }
    store<f32>(to, <f32>(<f64>largest + NativeMath.log(plain)));
    store<f32>(to, <f32>(<f64>largest * <f64>by + NativeMath.log(tempered)), 4);
    store<u64>(to, load<u64>(drawn, 8), 8);
    const target = load<u32>(sampling, 12) - all.firstToken;
    if (target < all.vocabulary) store<f32>(to, load<f32>(all.logits + (row * all.vocabulary + target << 2)), 16);
  }
}
