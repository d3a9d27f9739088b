/**
 * Norms, bound: their rows are rounded to f16 as they are written, where decode takes them so.
 *
 * @module
 */
import type { Kernel, Params } from "../../kernels/authoring/contract.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { alsoRounded } from "../../kernels/linear/also_rounded.ts";

/** What a norm is bound to, and the most it is run with. */
export interface NormBinding<B extends string, P extends string> {
  readonly buffers: Readonly<Record<B, DeviceBuffer>>;
  /** Takes y in f16; null if nobody wants it. */
  readonly rounded: DeviceBuffer | null;
  readonly most: Params<P>;
}

/** Compiles and binds. */
export async function bindNorm<C extends { readonly width: number }, B extends string, P extends string>(
  device: Device,
  norm: Kernel<C, B | "y", P>,
  config: C,
  { buffers, rounded, most }: NormBinding<B | "y", P>,
): Promise<BoundKernel<P>> {
  if (rounded === null) return (await device.compile(norm, config)).bind(buffers, most);
  return (await device.compile(alsoRounded<C, B, P>(norm), config)).bind({ ...buffers, rounded } as Record<B | "y" | "rounded", DeviceBuffer>, most);
}
