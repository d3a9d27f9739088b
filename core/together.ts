/**
 * Work side by side.
 *
 * @module
 */

/** Waits until all of it has ended, then fails with the first failure, if there is one: what it works with can be freed then. */
export async function together<T extends readonly unknown[]>(work: { readonly [i in keyof T]: Promise<T[i]> }): Promise<T> {
  const ended = await Promise.allSettled(work);
  for (const one of ended) if (one.status === "rejected") throw one.reason;
  return ended.map((one) => (one as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
