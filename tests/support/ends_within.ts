/**
 * Tests that wait for what does not come fail, and do not hold up those behind them.
 *
 * @module
 */

/** The slowest was seen to take 70 s, on two processors that many others wanted. Milliseconds. */
const TEST_LIMIT = 6 * 60_000;

/**
 * Runs something that must come to an end.
 *
 * @param name what it is, for the error
 * @param limit milliseconds
 * @throws what it throws, or an error that names it if it does not end
 */
export async function endsWithin<T>(name: string, body: () => T | Promise<T>, limit = TEST_LIMIT): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  // It does not keep a process: one in which nothing happens any more ends with an error of Deno's, at once.
  const timer = setTimeout(() => reject(new Error(`${name}: has not ended within ${limit / 1000} s`)), limit);
  Deno.unrefTimer(timer);
  try {
    return await Promise.race([body(), promise]);
  } finally {
    clearTimeout(timer);
  }
}
