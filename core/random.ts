/**
 * Counter-based random numbers: the noise of a token depends only on (seed, position, token id), never on what was drawn before. Devices, ranks
 * and replays therefore agree without sharing any state. The WGSL twins of these functions are in `kernels/authoring/random.wgsl` and `kernels/candidates/noise.wgsl`.
 *
 * @module
 */

/** MurmurHash3's 32-bit finaliser: every input bit reaches every output bit. */
function mix32(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Folds a request seed (a whole number, of which 64 bits count) and the index of the choice into the 32-bit key of one sequence. */
export function sequenceKey(seed: number | bigint, choice: number): number {
  const low = Number(BigInt.asUintN(32, BigInt(seed)));
  const high = Number(BigInt.asUintN(32, BigInt(seed) >> 32n));
  return mix32(mix32(mix32(low ^ 0x9e3779b9) ^ high) + choice);
}

/** 32 uniform bits for one (key, position, token). */
export function randomBits(key: number, position: number, token: number): number {
  return mix32(mix32(mix32(key ^ 0x2545f491) + position) + token);
}

/**
 * Standard Gumbel noise for one (key, position, token): arg-max of `logit + noise` samples the softmax (Gumbel-max).
 * Computed as −ln(−ln(1 − v)) with v uniform in (0, 1), which keeps full resolution where the largest values come from.
 */
export function gumbel(key: number, position: number, token: number): number {
  const v = (randomBits(key, position, token) + 0.5) * 2 ** -32;
  return -Math.log(-Math.log1p(-v));
}
