/**
 * What prefill chunks take: something whatever their size (weights are read), something for each position before them (their keys and values are expanded again),
 * and something for each of their tokens. Fitted to the last chunks by least squares, of which none is negative.
 *
 * @module
 */

/** A prefill chunk. */
export interface ChunkSize {
  readonly tokens: number;
  /** Positions before it. */
  readonly start: number;
}

interface Sample extends ChunkSize {
  readonly milliseconds: number;
  /** How many chunks were measured before it. */
  readonly before: number;
}

/** Chunks that count, and how much less each does than one that was measured after it, down to the least. */
const SAMPLES = 24;
const FADING = 0.8;
const LEAST_WEIGHT = 1e-4;
/** Where chunks do not tell parts apart, it is tokens that cost: a little of the total weight is for nothing else costing anything. */
const DOUBT = 1e-9;
/** Of the longest chunk, the part that counts as the least a chunk takes: one that a clock saw take next to nothing would outweigh all others for ever. */
const LEAST_PART = 0.05;
/**
 * Once so many chunks are known, one that takes more than so many times what was expected may have waited for something else, and one that takes less than such a part
 * of it may have been computed beside something: the next one tells.
 */
const [KNOWN, ODD] = [4, 2];

/** Milliseconds: of every chunk, for each position before it, for each of its tokens. */
type Costs = readonly [chunk: number, position: number, token: number];

/** Costs of one unit's chunks. */
export class ChunkCosts {
  readonly #samples: Sample[] = [];
  #measured = 0;
  /** The last one, if it was odd. */
  #odd: Sample | null = null;
  /** Of {@link #samples}; null where there are none. */
  #costs: Costs | null = null;

  /** Whether any chunk was measured. */
  get known(): boolean {
    return this.#costs !== null;
  }

  /** The largest of the last chunks, in tokens; 0 if there are none. */
  get largest(): number {
    return Math.max(0, ...this.#samples.map(({ tokens }) => tokens));
  }

  /** The smallest likewise. */
  get smallest(): number {
    return Math.min(...this.#samples.map(({ tokens }) => tokens));
  }

  /** Milliseconds of a chunk after so many positions without those for its tokens. */
  before(start: number): number {
    const [chunk, position] = this.#costs ?? [0, 0];
    return chunk + position * start;
  }

  /** Milliseconds for each token. */
  get perToken(): number {
    return this.#costs?.[2] ?? 0;
  }

  /** A chunk was computed. */
  add({ tokens, start }: ChunkSize, milliseconds: number): void {
    if (milliseconds <= 0) return;
    const sample = { tokens, start, milliseconds, before: this.#measured++ };
    const expected = this.before(start) + this.perToken * tokens;
    const isOdd = this.#samples.length >= KNOWN && (milliseconds > ODD * expected || milliseconds < expected / ODD);
    const before = this.#odd;
    this.#odd = isOdd && before === null ? sample : null;
    if (this.#odd !== null) return;
    if (isOdd) this.#add(before!);
    this.#add(sample);
    this.#costs = fit(this.#samples);
  }

  #add(sample: Sample): void {
    this.#samples.push(sample);
    if (this.#samples.length > SAMPLES) this.#samples.splice(this.#leastWanted(), 1);
  }

  /** The oldest, but for the last of about its size and as far into its prompt: chunks that are all alike do not tell their costs apart. */
  #leastWanted(): number {
    const kinds = this.#samples.map(({ tokens, start }) => `${Math.floor(Math.log2(tokens))} ${Math.floor(Math.log2(1 + start))}`);
    return Math.max(0, kinds.findIndex((kind, i) => kinds.lastIndexOf(kind) > i));
  }
}

const PARTS = [0, 1, 2] as const;
/** Parts that may cost anything, the others nothing. */
const CHOICES: readonly (readonly number[])[] = [[2], [0, 2], [1, 2], [0, 1, 2], [0], [1], [0, 1]];

/** Weighted so that what counts is by which part of itself a chunk is missed. */
function fit(samples: readonly Sample[]): Costs {
  const scale = [1, Math.max(1, ...samples.map(({ start }) => start)), Math.max(...samples.map(({ tokens }) => tokens))];
  const matrix = PARTS.map(() => [0, 0, 0]);
  const right = [0, 0, 0];
  const last = samples.at(-1)!.before;
  const least = LEAST_PART * Math.max(...samples.map(({ milliseconds }) => milliseconds));
  samples.forEach(({ start, tokens, milliseconds, before }) => {
    const weight = Math.max(LEAST_WEIGHT, FADING ** (last - before)) / Math.max(least, milliseconds) ** 2;
    const features = [1, start / scale[1], tokens / scale[2]];
    for (const row of PARTS) {
      for (const column of PARTS) matrix[row][column] += weight * features[row] * features[column];
      right[row] += weight * features[row] * milliseconds;
    }
  });
  const doubt = DOUBT * (matrix[0][0] + matrix[2][2]);
  matrix[0][0] += doubt;
  matrix[1][1] += doubt;
  let best = { costs: [0, 0, 0], gain: 0 };
  for (const parts of CHOICES) {
    const costs = solve(matrix, right, parts);
    if (costs === null) continue;
    const gain = costs.reduce((sum, cost, part) => sum + cost * right[part], 0);
    if (gain > best.gain) best = { costs, gain };
  }
  const [chunk, position, token] = best.costs.map((cost, part) => cost / scale[part]);
  return [chunk, position, token];
}

/** The least squares of some parts, by elimination; null if one of them is negative or the others say all about it. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[], parts: readonly number[]): number[] | null {
  const rows = parts.map((row) => [...parts.map((column) => matrix[row][column]), right[row]]);
  const size = parts.length;
  for (let pivot = 0; pivot < size; pivot++) {
    const by = rows[pivot][pivot];
    if (by <= 1e-12 * matrix[parts[pivot]][parts[pivot]]) return null;
    for (let row = pivot + 1; row < size; row++) {
      const factor = rows[row][pivot] / by;
      for (let column = pivot; column <= size; column++) rows[row][column] -= factor * rows[pivot][column];
    }
  }
  const costs = [0, 0, 0];
  for (let row = size - 1; row >= 0; row--) {
    const known = parts.slice(row + 1).reduce((sum, part, i) => sum + rows[row][row + 1 + i] * costs[part], 0);
    const cost = (rows[row][size] - known) / rows[row][row];
    if (cost < 0) return null;
    costs[parts[row]] = cost;
  }
  return costs;
}
