/**
 * The part of `@std/assert` that the tests use; see bdd.ts for why.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";

type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

export function assert(condition: unknown, message?: string): asserts condition {
  // Node's takes a while where nothing is wrong, too.
  if (!condition) nodeAssert.ok(condition, message);
}

export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (!surelyEqual(actual, expected)) nodeAssert.deepEqual(actual, expected, message);
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

/** More is left to Node's, which knows circles. */
const MOST_DEPTH = 8;

/** Whether Node's would find no difference, which takes it long to say of many values. @returns false where it has to say, too */
function surelyEqual(a: unknown, b: unknown, depth = 0): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null || depth === MOST_DEPTH) return false;
  const prototype = Object.getPrototypeOf(a);
  if (prototype !== Object.getPrototypeOf(b)) return false;
  if (ArrayBuffer.isView(a)) return ArrayBuffer.isView(b) && !(a instanceof DataView) && sameBytes(a, b);
  if (prototype !== Array.prototype && prototype !== Object.prototype) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length || (a as { length?: unknown }).length !== (b as { length?: unknown }).length) return false;
  if (Object.getOwnPropertySymbols(a).length > 0 || Object.getOwnPropertySymbols(b).length > 0) return false;
  const [these, those] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return keys.every((key) => Object.hasOwn(those, key) && surelyEqual(these[key], those[key], depth + 1));
}

/** Not of values that are equal in other bytes, such as NaN. */
function sameBytes(a: ArrayBufferView, b: ArrayBufferView): boolean {
  if (a.byteLength !== b.byteLength) return false;
  const [these, those] = [a, b].map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
  for (let i = 0; i < these.length; i++) if (these[i] !== those[i]) return false;
  return true;
}
