/**
 * What this processor makes of the second operand of WebAssembly's dot product of bytes, which is left to it beyond seven bits.
 *
 * @module
 */
import type { ByteDots } from "../../authoring/wasm_program.ts";

/**
 * `relaxed_dot` of two bytes, each four times: (module (func (export "f") (param i32 i32) (result i32)
 *   (i32x4.extract_lane 0 (i32x4.relaxed_dot_i8x16_i7x16_add_s (i8x16.splat (local.get 0)) (i8x16.splat (local.get 1)) (i32x4.splat (i32.const 0))))))
 */
const DOT = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version
  ...[0x01, 0x07, 0x01, 0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7f], // its type
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00], // "f"
  ...[0x0a, 0x16, 0x01, 0x14, 0x00], // a body of 20 bytes without locals
  ...[0x20, 0x00, 0xfd, 0x0f, 0x20, 0x01, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x11], // three splats
  ...[0xfd, 0x93, 0x02, 0xfd, 0x1b, 0x00, 0x0b], // i32x4.relaxed_dot_i8x16_i7x16_add_s, extract_lane 0, end
);

/** Asks the processor once. It is a matter of speed alone: sums of integers are the same in every way. */
export function byteDots(): ByteDots {
  return answer === undefined ? answer = ask() : answer;
}

let answer: ByteDots | undefined;

function ask(): ByteDots {
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(DOT)).exports as { f(a: number, b: number): number };
  // All that could be added in 16 bits on the way is among these.
  const bytes = [-128, -127, -1, 0, 1, 127];
  const sums = (as: (byte: number) => number) => bytes.every((a) => bytes.every((b) => f(a, b) === 4 * a * as(b)));
  // Both at their least are beyond 16 bits, which no weight and input are.
  if (bytes.every((a) => bytes.every((b) => a === -128 && b === -128 || f(a, b) === 4 * a * b))) return "signed";
  return sums((b) => b & 255) ? "unsigned" : null;
}
