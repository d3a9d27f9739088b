/**
 * Waiting that can be given up.
 *
 * @module
 */
import { cancellation } from "./errors.ts";

/** The same promise, until a signal aborts; what it comes to is not looked at then. @throws {LatentmeshError} `cancelled` by the signal */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(cancellation(signal));
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
