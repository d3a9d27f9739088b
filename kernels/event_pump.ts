/**
 * Dawn settles its promises from the event loop, but does not wake a sleeping one: a process with nothing else to do then waits for whatever timer comes
 * next (measured: up to a minute). {@link pumped} keeps the loop turning until the promise has settled.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";

/** Awaits a promise of Dawn's. */
export async function pumped<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  const outcome = promise.finally(() => settled = true);
  // Its rejection is handled by whoever awaits the result.
  outcome.catch(() => {});
  while (!settled) await setImmediate();
  return await outcome;
}
