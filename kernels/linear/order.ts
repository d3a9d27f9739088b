/**
 * The order in which decode adds a row's products. It depends on the row alone, so that all kernels of decode give the same bits: each of `lanes` sums takes a
 * stride of the row's vectors of 16 bytes; `fold` neighbouring sums are added in order, and what that gives is added in order.
 *
 * @module
 */
import type { MatrixLayout } from "../../core/model/packing.ts";

/** Sums of a row. */
export interface AdditionOrder {
  readonly lanes: number;
  readonly fold: number;
}

/** As many lanes as a row has vectors for, so that none idles in short rows. */
export function orderOf({ rowBytes }: Pick<MatrixLayout, "rowBytes">): AdditionOrder {
  let lanes = 64;
  while (lanes > 1 && lanes > rowBytes / 16) lanes /= 2;
  return { lanes, fold: Math.min(lanes, 8) };
}
