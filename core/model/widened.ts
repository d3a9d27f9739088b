/**
 * Matrices that become others on their way to a device, since it has no layout for what is stored.
 *
 * @module
 */
import type { FileRange } from "./checkpoint.ts";
import type { WeightFormat } from "./packing.ts";

/** A matrix of which rows can be had as float32. */
export interface WidenedTensor {
  /** What a device keeps of it, where it keeps what is stored. */
  readonly kept: WeightFormat;
  /** Whether rows can be read by themselves, as they can where nothing is said; otherwise all of it is. */
  readonly byRows?: boolean;
  /** What is read for rows `begin … end`. */
  ranges(begin: number, end: number): FileRange[];
  /**
   * Rows `begin … end`.
   *
   * @param stored what is at their {@link WidenedTensor.ranges}, each at a multiple of 4 bytes in its memory
   * @param into [rows, columns]
   */
  widen(stored: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number, into: Float32Array<ArrayBuffer>): void;
}
