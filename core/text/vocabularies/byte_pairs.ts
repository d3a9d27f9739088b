/**
 * Byte-pair encoding by ranks, as tiktoken does it: whichever two neighbours together are the token of the lowest rank become that token, the leftmost first. (Lists
 * of merges, as in a `tokenizer.json`, name the two halves of each token; here all ways to cut it count.)
 *
 * @module
 */

/** Rank, which is the id, of each token by its bytes, written as the characters U+0000 … U+00FF. */
export type Ranks = ReadonlyMap<string, number>;

/** Where a queued pair begins, below its rank: both together are exact in a double. */
const STARTS = 2 ** 31;

/**
 * The tokens of one piece of text.
 *
 * @param piece its bytes, as characters; each byte by itself is a token
 */
export function bytePairs(piece: string, ranks: Ranks): number[] {
  const whole = ranks.get(piece);
  if (whole !== undefined) return [whole];
  const length = piece.length;
  // Tokens begin where `ends` is not 0, and end there; `starts` leads back.
  const ends = Int32Array.from({ length }, (_, i) => i + 1);
  const starts = Int32Array.from({ length: length + 1 }, (_, i) => i - 1);
  const queue = new LeastFirst();
  const rankAt = (start: number) => {
    const middle = ends[start];
    return middle < length ? ranks.get(piece.slice(start, ends[middle])) : undefined;
  };
  const enqueue = (start: number) => {
    const rank = rankAt(start);
    if (rank !== undefined) queue.push(rank * STARTS + start);
  };
  for (let start = 0; start + 1 < length; start++) enqueue(start);
  for (let next = queue.pop(); next !== null; next = queue.pop()) {
    const start = next % STARTS;
    // One of the two may have gone into another token since.
    if (ends[start] === 0 || rankAt(start) !== Math.floor(next / STARTS)) continue;
    const middle = ends[start];
    const end = ends[middle];
    ends[start] = end;
    ends[middle] = 0;
    starts[end] = start;
    enqueue(start);
    if (start > 0) enqueue(starts[start]);
  }
  const tokens: number[] = [];
  for (let start = 0; start < length; start = ends[start]) tokens.push(ranks.get(piece.slice(start, ends[start]))!);
  return tokens;
}

/** A binary heap of numbers. */
class LeastFirst {
  readonly #heap: number[] = [];

  push(value: number): void {
    const heap = this.#heap;
    let at = heap.push(value) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent] <= value) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = value;
  }

  /** The least, which is taken out; null if there is none. */
  pop(): number | null {
    const heap = this.#heap;
    if (heap.length === 0) return null;
    const least = heap[0];
    const last = heap.pop()!;
    if (heap.length === 0) return least;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1] < heap[child]) child++;
      if (heap[child] >= last) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return least;
  }
}
