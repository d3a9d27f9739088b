/**
 * Whether this processor rounds a · b + c once where WebAssembly leaves it to it.
 *
 * @module
 */

/**
 * `relaxed_madd` of three numbers: (module (func (export "f") (param f32 f32 f32) (result f32)
 *   (f32x4.extract_lane 0 (f32x4.relaxed_madd (f32x4.splat (local.get 0)) (f32x4.splat (local.get 1)) (f32x4.splat (local.get 2))))))
 */
const MADD = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version
  ...[0x01, 0x08, 0x01, 0x60, 0x03, 0x7d, 0x7d, 0x7d, 0x01, 0x7d], // its type
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00], // "f"
  ...[0x0a, 0x16, 0x01, 0x14, 0x00], // a body of 20 bytes without locals
  ...[0x20, 0x00, 0xfd, 0x13, 0x20, 0x01, 0xfd, 0x13, 0x20, 0x02, 0xfd, 0x13], // three splats
  ...[0xfd, 0x85, 0x02, 0xfd, 0x1f, 0x00, 0x0b], // f32x4.relaxed_madd, extract_lane 0, end
);

/** Asks the processor once. `LATENTMESH_WASM_FMA=off` is for whoever opens a device to see to. */
export function fuses(): boolean {
  return answer ??= ask();
}

let answer: boolean | undefined;

function ask(): boolean {
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(MADD)).exports as { f(a: number, b: number, c: number): number };
  // (1 + ε)² − (1 + 2ε) is ε² if rounded once, and 0 if twice.
  const a = 1 + 2 ** -23;
  return f(a, a, -(1 + 2 ** -22)) !== 0;
}
