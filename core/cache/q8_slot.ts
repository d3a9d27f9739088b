/**
 * Where the parts of a token lie whose latent is cached in eight bits: its key columns, a byte each; its rotated key in f16; and a scale for each group of key columns.
 * Each part is filled up to whole 16 bytes, which kernels read at a time.
 *
 * @module
 */
import { roundUp } from "../numeric.ts";
import { SCALE_BYTES } from "./cache_dtype.ts";

/** Bytes that are read at a time. */
const VECTOR = 16;

/** Where parts begin, in bytes from the token's beginning, where its key columns are. */
export interface Q8Slot {
  readonly rope: number;
  readonly scales: number;
  /** Of all parts. */
  readonly bytes: number;
}

/** The parts of such a token. @param groups widths of the groups that share a scale */
export function q8Slot(
  { keyWidth, ropeWidth, groups }: { readonly keyWidth: number; readonly ropeWidth: number; readonly groups: readonly number[] },
): Q8Slot {
  const rope = roundUp(keyWidth, VECTOR);
  const scales = rope + roundUp(ropeWidth * 2, VECTOR);
  return { rope, scales, bytes: scales + roundUp(groups.length * SCALE_BYTES, VECTOR) };
}
