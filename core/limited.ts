/**
 * Several at a time.
 *
 * @module
 */

/** Does `work` for every item, `most` at a time; results in the order of items. Stops with the first failure, once what has begun has ended. */
export async function mapLimited<T, R>(items: Iterable<T>, most: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const iterator = Iterator.from(items);
  let next = 0;
  let stopped = false;
  const lane = async () => {
    for (let item = iterator.next(); !stopped && !item.done; item = iterator.next()) {
      const index = next++;
      try {
        results[index] = await work(item.value);
      } catch (error) {
        stopped = true;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: most }, lane));
  for (const ended of lanes) if (ended.status === "rejected") throw ended.reason;
  return results;
}
