/**
 * Numeric comparisons.
 *
 * @module
 */
import { assert } from "@std/assert";
import { SEED } from "../../bench/support/random.ts";

/** ‖actual − expected‖ / ‖expected‖; 0 for two empty or zero vectors. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0, norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

/** Same NaNs and infinities in the same places, and the finite rest within `tolerance` by norm. */
export function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert(actual.length === expected.length, `${what}: ${actual.length} values instead of ${expected.length}`);
  const finiteActual: number[] = [], finiteExpected: number[] = [];
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) {
      assert(Number.isFinite(actual[i]), `${what}: element ${i} is ${actual[i]} instead of ${expected[i]} (TEST_SEED=${SEED})`);
      finiteActual.push(actual[i]);
      finiteExpected.push(expected[i]);
    } else {
      assert(Object.is(actual[i], expected[i]), `${what}: element ${i} is ${actual[i]} instead of ${expected[i]} (TEST_SEED=${SEED})`);
    }
  }
  const error = relativeError(finiteActual, finiteExpected);
  assert(error <= tolerance, `${what}: relative error ${error} exceeds ${tolerance} (TEST_SEED=${SEED})`);
}
