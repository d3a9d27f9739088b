/**
 * The part of `@std/assert` that the tests use; see bdd.ts for why.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";

type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

export function assert(condition: unknown, message?: string): asserts condition {
  nodeAssert.ok(condition, message);
}

export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.deepEqual(actual, expected, message);
}

export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.notDeepEqual(actual, expected, message);
}

export function assertAlmostEquals(actual: number, expected: number, tolerance = 1e-7, message?: string): void {
  nodeAssert.ok(Math.abs(actual - expected) <= tolerance, message ?? `${actual} is not within ${tolerance} of ${expected}`);
}

export function assertStringIncludes(actual: string, expected: string): void {
  nodeAssert.ok(actual.includes(expected), `${JSON.stringify(actual)} does not include ${JSON.stringify(expected)}`);
}

export function assertThrows<E extends Error = Error>(body: () => unknown, type?: ErrorClass<E>, includes = ""): E {
  try {
    body();
  } catch (error) {
    return checkError(error, type, includes);
  }
  throw new nodeAssert.AssertionError({ message: "Expected the function to throw" });
}

export async function assertRejects<E extends Error = Error>(body: () => Promise<unknown>, type?: ErrorClass<E>, includes = ""): Promise<E> {
  try {
    await body();
  } catch (error) {
    return checkError(error, type, includes);
  }
  throw new nodeAssert.AssertionError({ message: "Expected the promise to reject" });
}

function checkError<E extends Error>(error: unknown, type: ErrorClass<E> | undefined, includes: string): E {
  if (type !== undefined) nodeAssert.ok(error instanceof type, `Expected ${type.name}, got ${error}`);
  assertStringIncludes((error as Error).message, includes);
  return error as E;
}
