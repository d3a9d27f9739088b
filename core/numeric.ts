/**
 * Number formats that checkpoints use and JavaScript has no typed array for, and how to widen them to float32.
 *
 * @module
 */

/** float32 value of every float16 bit pattern. */
export const F16_VALUES: Float32Array<ArrayBuffer> = widenedHalfTable();

/** float32 value of every FP8 E4M3 (finite variant, "e4m3fn") bit pattern; 0x7f and 0xff are NaN. */
export const FP8_E4M3_VALUES: Float32Array<ArrayBuffer> = Float32Array.from({ length: 256 }, (_, bits) => {
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >> 3) & 15;
  const mantissa = bits & 7;
  if ((bits & 0x7f) === 0x7f) return NaN;
  return sign * (exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7));
});

function widenedHalfTable(): Float32Array<ArrayBuffer> {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  return Float32Array.from(new Float16Array(bits.buffer));
}

/** Bits of the float16 nearest to each value (ties to even). */
export function toHalfBits(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  return new Uint16Array(Float16Array.from(values).buffer);
}

const HALF = new Float16Array(1);
const HALF_BITS = new Uint16Array(HALF.buffer);

/** The bits of the float16 nearest to a value (ties to even). */
export function halfBits(value: number): number {
  HALF[0] = value;
  return HALF_BITS[0];
}

const WORD = new DataView(new ArrayBuffer(4));

/** The bits of a float32, as an unsigned integer. */
export function floatBits(value: number): number {
  WORD.setFloat32(0, value);
  return WORD.getUint32(0);
}

/** ⌈a / b⌉ for non-negative integers. */
export function ceilDiv(a: number, b: number): number {
  return Math.floor((a + b - 1) / b);
}

/** `value` rounded up to a multiple of `step`. */
export function roundUp(value: number, step: number): number {
  return ceilDiv(value, step) * step;
}

/** Greatest common divisor; `gcd(0, b)` is `b`. */
export function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
