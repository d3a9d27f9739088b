/**
 * What kernels see on the host: parameters, and memory.
 *
 * @module
 */

/** Run-time parameters by name; unsigned 32-bit integers. */
export type Params<P extends string> = Readonly<Record<P, number>>;

/** Memory of a buffer, seen through every element type that references need. */
export interface HostBuffer {
  readonly f32: Float32Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly f16: Float16Array<ArrayBuffer>;
  readonly u8: Uint8Array<ArrayBuffer>;
}
