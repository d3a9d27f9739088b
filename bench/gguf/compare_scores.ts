/**
 * Logits of one model by two programs, position by position.
 *
 * @module
 */

/** A position at which they choose different tokens. */
export interface Disagreement {
  readonly position: number;
  /** By how much each prefers its choice to the other's, in logits. */
  readonly margins: readonly [ours: number, theirs: number];
}

/** What a comparison comes to. */
export interface ScoresComparison {
  readonly positions: number;
  readonly disagreements: readonly Disagreement[];
  /** ‖theirs − ours‖ / ‖ours‖ of all logits. */
  readonly error: number;
  /** Of next-token distributions, theirs from ours, in nats: the mean, and the largest. */
  readonly divergence: { readonly mean: number; readonly largest: number };
}

/** Compares logits: [positions, vocabulary]. @throws {Error} if they are not as many */
export function compareScores(ours: Float32Array, theirs: Float32Array, vocabulary: number): ScoresComparison {
  if (ours.length !== theirs.length) throw new Error(`There are ${theirs.length} logits, and ${ours.length} here`);
  const disagreements: Disagreement[] = [];
  const positions = ours.length / vocabulary;
  let [difference, norm] = [0, 0];
  ours.forEach((logit, i) => {
    difference += (theirs[i] - logit) ** 2;
    norm += logit ** 2;
  });
  let [sum, largest] = [0, 0];
  for (let position = 0; position < positions; position++) {
    const [a, b] = [ours, theirs].map((logits) => logits.subarray(position * vocabulary, (position + 1) * vocabulary));
    const [mine, other] = [indexOfLargest(a), indexOfLargest(b)];
    if (mine !== other) disagreements.push({ position, margins: [a[mine] - a[other], b[other] - b[mine]] });
    const divergence = divergenceOf(a, b);
    sum += divergence;
    largest = Math.max(largest, divergence);
  }
  return { positions, disagreements, error: Math.sqrt(difference / norm), divergence: { mean: sum / positions, largest } };
}

/** How many tokens are the same before the first that is not. */
export function equalTokens(tokens: readonly number[], others: readonly number[]): number {
  const differs = tokens.findIndex((token, i) => others[i] !== token);
  return differs < 0 ? tokens.length : differs;
}

/** The first of the largest. */
export function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Σ p (log p − log q), p and q what the logits `a` and `b` stand for. */
function divergenceOf(a: Float32Array, b: Float32Array): number {
  const [sumA, sumB] = [logSumExp(a), logSumExp(b)];
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.exp(a[i] - sumA) * (a[i] - sumA - (b[i] - sumB));
  // What is equal but for rounding may come to less than nothing.
  return Math.max(0, sum);
}

function logSumExp(values: Float32Array): number {
  const most = values[indexOfLargest(values)];
  let sum = 0;
  for (const value of values) sum += Math.exp(value - most);
  return most + Math.log(sum);
}
