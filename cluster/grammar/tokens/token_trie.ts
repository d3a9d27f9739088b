/**
 * Tokens by their bytes, as a tree: what begins alike is looked at once.
 *
 * @module
 */
import type { GrammarVocabulary } from "./vocabulary.ts";

/** Ranges so short are sorted by comparing. */
const FEW = 24;

/** A tree whose nodes are numbered as they are met going down, children after their parent. */
export interface TokenTrie {
  /** The byte that leads to each node: [nodes]. */
  readonly bytes: Uint8Array;
  /** How many bytes lead to each node's parent: [nodes]. */
  readonly depths: Uint16Array;
  /** The first node that is not below this one: [nodes]. */
  readonly ends: Int32Array;
  /** The token that ends at each node, or -1: [nodes]. */
  readonly tokens: Int32Array;
  /** Bytes of the longest token. */
  readonly deepest: number;
}

/** The tree of some tokens; those without bytes are left out. */
export function buildTrie(vocabulary: GrammarVocabulary, tokens: Iterable<number>): TokenTrie {
  const { bytes: texts, offsets } = vocabulary;
  const sorted = Int32Array.from(tokens).filter((token) => offsets[token + 1] > offsets[token]);
  sortRange(vocabulary, sorted, { from: 0, to: sorted.length, depth: 0 });
  const most = sorted.reduce((sum, token) => sum + offsets[token + 1] - offsets[token], 0);
  const [bytes, depths] = [new Uint8Array(most), new Uint16Array(most)];
  const [ends, ids] = [new Int32Array(most), new Int32Array(most).fill(-1)];
  /** Nodes that lead to the last one. */
  const path: number[] = [];
  let nodes = 0;
  let deepest = 0;
  let last = 0;
  let lastLength = 0;
  for (const token of sorted) {
    const begin = offsets[token];
    const length = offsets[token + 1] - begin;
    let common = 0;
    while (common < length && common < lastLength && texts[begin + common] === texts[last + common]) common++;
    // A token of the same text as another is a node beside it.
    if (common === length) common--;
    while (path.length > common) ends[path.pop()!] = nodes;
    for (let depth = common; depth < length; depth++) {
      bytes[nodes] = texts[begin + depth];
      depths[nodes] = depth;
      path.push(nodes++);
    }
    ids[nodes - 1] = token;
    last = begin;
    lastLength = length;
    deepest = Math.max(deepest, length);
  }
  while (path.length > 0) ends[path.pop()!] = nodes;
  return { bytes: bytes.slice(0, nodes), depths: depths.slice(0, nodes), ends: ends.slice(0, nodes), tokens: ids.slice(0, nodes), deepest };
}

interface Range {
  readonly from: number;
  readonly to: number;
  /** Bytes that all of the range have in common. */
  readonly depth: number;
}

/** Sorts by bytes, place by place. */
function sortRange(vocabulary: GrammarVocabulary, sorted: Int32Array, whole: Range): void {
  const { bytes, offsets } = vocabulary;
  const scratch = new Int32Array(sorted.length);
  const open = [whole];
  for (let range = open.pop(); range !== undefined; range = open.pop()) {
    const { from, to, depth } = range;
    if (to - from <= FEW) {
      sorted.subarray(from, to).sort((a, b) => compareTokens(vocabulary, a, b, depth));
      continue;
    }
    // Tokens that end here come first.
    const starts = new Uint32Array(258);
    const place = (token: number) => offsets[token] + depth < offsets[token + 1] ? bytes[offsets[token] + depth] + 1 : 0;
    for (let i = from; i < to; i++) starts[place(sorted[i]) + 1]++;
    for (let i = 1; i < 258; i++) starts[i] += starts[i - 1];
    for (let i = 1; i < 257; i++) {
      if (starts[i + 1] - starts[i] > 1) open.push({ from: from + starts[i], to: from + starts[i + 1], depth: depth + 1 });
    }
    const next = starts.slice();
    for (let i = from; i < to; i++) scratch[next[place(sorted[i])]++] = sorted[i];
    sorted.set(scratch.subarray(0, to - from), from);
  }
}

function compareTokens({ bytes, offsets }: GrammarVocabulary, a: number, b: number, depth: number): number {
  const [endA, endB] = [offsets[a + 1], offsets[b + 1]];
  let [i, j] = [offsets[a] + depth, offsets[b] + depth];
  while (i < endA && j < endB) {
    const difference = bytes[i++] - bytes[j++];
    if (difference !== 0) return difference;
  }
  return (endA - i) - (endB - j);
}
