/**
 * What queries are multiplied by, position by position.
 *
 * @module
 */
import type { QueryScaling } from "./spec.ts";

/** Factors of positions 0 … positions − 1: 1 + β ln(1 + ⌊position / span⌋). */
export function queryFactors({ beta, span }: QueryScaling, positions: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: positions }, (_, position) => 1 + beta * Math.log(1 + Math.floor(position / span)));
}
