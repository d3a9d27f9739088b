/**
 * Rotary tables, computed on the host in float64: WGSL's sin and cos promise only 2⁻¹¹.
 *
 * @module
 */
import type { RopeSpec, YarnSpec } from "./spec.ts";

/** m(f, a) of the YaRN paper as DeepSeek uses it: 0.1·a·ln f + 1 for f > 1. */
export function yarnMscale(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** Positions of sequences that are rotated by a list of their own while they are short; 0: all are rotated alike. See {@link LongRopeSpec.short}. */
export function shortPositions({ longRope }: RopeSpec): number {
  return longRope?.short?.positions ?? 0;
}

/** Angle per position of each of the `width / 2` pairs, in radians. */
export function inverseFrequencies(rope: RopeSpec): Float64Array<ArrayBuffer> {
  const half = rope.width / 2;
  const base = Float64Array.from({ length: half }, (_, i) => rope.theta ** (-2 * i / rope.width));
  const { yarn, longRope } = rope;
  if (longRope !== null) return base.map((frequency, i) => frequency / longRope.divisors[i]);
  return yarn === null ? base : base.map((frequency, i) => yarnFrequency(frequency, i, rope, yarn));
}

function yarnFrequency(frequency: number, index: number, rope: RopeSpec, yarn: YarnSpec): number {
  const [low, high] = correctionRange(rope, yarn);
  // A zero-width ramp would divide by zero; the reference widens it by the same 0.001.
  const ramp = Math.min(1, Math.max(0, (index - low) / ((high === low ? high + 0.001 : high) - low)));
  return (frequency / yarn.factor) * ramp + frequency * (1 - ramp);
}

/** Pair indices between which YaRN goes from extrapolation to interpolation. */
function correctionRange(rope: RopeSpec, yarn: YarnSpec): [low: number, high: number] {
  const dimension = (rotations: number) =>
    (rope.width * Math.log(yarn.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.theta));
  const low = dimension(yarn.betaFast);
  const high = dimension(yarn.betaSlow);
  const [first, last] = yarn.truncate ? [Math.floor(low), Math.ceil(high)] : [low, high];
  return [Math.max(first, 0), Math.min(last, rope.width - 1)];
}

/**
 * cos and sin of every position, scaled by the attention factor of a context extension.
 *
 * @returns [positions + short, width/2, 2]: (cos, sin) pairs; behind those of all positions, of as many as {@link shortPositions} those of short sequences
 */
export function ropeTable(rope: RopeSpec, positions: number): Float32Array<ArrayBuffer> {
  const { longRope } = rope;
  const scale = (rope.yarn ?? longRope)?.attentionFactor ?? 1;
  const parts = [{ frequencies: inverseFrequencies(rope), rows: positions }];
  if (longRope !== null && longRope.short !== null) {
    const { divisors, positions: rows } = longRope.short;
    parts.push({ frequencies: inverseFrequencies({ ...rope, longRope: { ...longRope, divisors } }), rows });
  }
  const table = new Float32Array((positions + shortPositions(rope)) * rope.width);
  let at = 0;
  for (const { frequencies, rows } of parts) {
    for (let position = 0; position < rows; position++) {
      for (const frequency of frequencies) {
        // The reference multiplies in float32; at long positions that rounding is larger than the tolerance of its goldens, so it is reproduced.
        const angle = Math.fround(position * Math.fround(frequency));
        table[at++] = scale * Math.cos(angle);
        table[at++] = scale * Math.sin(angle);
      }
    }
  }
  return table;
}
