/**
 * Norms on a `wasm` device.
 *
 * @module
 */
import type { WasmBinding } from "../authoring/wasm_program.ts";

/** Addresses of what is normalised; a `delta` of 0 is none. */
export type NormaliseAddresses = Readonly<Record<"x" | "delta" | "gamma" | "y", number>>;

/** Binds the norm of rows, to which delta is added before. @returns what normalises so many rows from one on */
export function normaliseRows(
  binding: Pick<WasmBinding<string, string>, "allocate" | "call">,
  { x, delta, gamma, y }: NormaliseAddresses,
  { width, eps, inputStride = width }: { readonly width: number; readonly eps: number; readonly inputStride?: number },
): (rows: number, firstRow?: number) => void {
  const args = binding.allocate(7);
  args.u32.set([x, delta, gamma, y, width, inputStride * 4]);
  args.f32[6] = eps;
  return (rows, firstRow = 0) => {
    args.u32[0] = x + firstRow * inputStride * 4;
    binding.call("normalise", args, rows, 4 * width);
  };
}
