import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type WatchedBucket, WatchedRecords } from "../../../cluster/registry/nats_watch.ts";
import { until } from "../../../bench/support/until.ts";

/** A watch that tells of an empty bucket, until it is stopped. */
class FakeWatch {
  readonly #stopped = Promise.withResolvers<void>();
  stopped = false;

  stop(): void {
    this.stopped = true;
    this.#stopped.resolve();
  }

  [Symbol.asyncIterator](): AsyncIterator<never> {
    return { next: () => this.#stopped.promise.then(() => ({ done: true, value: undefined })) };
  }
}

/** @param begin awaited before each watch is there @param status what is said of the bucket */
function bucketOf(begin: () => Promise<void>, status: () => Promise<{ values: number }>) {
  const watches: FakeWatch[] = [];
  const kv = {
    watch: async () => {
      await begin();
      watches.push(new FakeWatch());
      return watches.at(-1)!;
    },
    status,
  };
  const bucket: WatchedBucket = {
    connected: true,
    kv: () => Promise.resolve(kv as unknown as Awaited<ReturnType<WatchedBucket["kv"]>>),
    forget: () => {},
    onConnection: () => {},
  };
  return { bucket, watches };
}

const empty = () => Promise.resolve({ values: 0 });

describe("a watch of a bucket of NATS", () => {
  it("ends though it was begun with when it was closed", async () => {
    const begins = Promise.withResolvers<void>();
    const { bucket, watches } = bucketOf(() => begins.promise, empty);
    const records = new WatchedRecords(bucket);
    const closed = records.close();
    begins.resolve();
    await closed;
    assertEquals(watches.map(({ stopped }) => stopped), [true]);
  });

  it("is begun again where the connection was another one before it was there", async () => {
    const begins = Promise.withResolvers<void>();
    const { bucket, watches } = bucketOf(() => begins.promise, empty);
    const records = new WatchedRecords(bucket, { againMs: 1 });
    await Promise.resolve();
    bucket.onConnection();
    begins.resolve();
    await records.begun;
    assertEquals(watches.map(({ stopped }) => stopped), [true, false]);
    assertEquals(records.texts.size, 0);
    await records.close();
  });

  it("leaves nothing that nobody stops where its bucket cannot be asked", async () => {
    let fails = true;
    const { bucket, watches } = bucketOf(() => Promise.resolve(), () => fails ? Promise.reject(new Error("no answer")) : empty());
    const records = new WatchedRecords(bucket, { againMs: 1 });
    await assertRejects(() => records.begun, Error, "no answer");
    assertThrows(() => records.texts, Error);
    fails = false;
    await until(() => Promise.resolve(watches.at(-1)?.stopped === false));
    assertEquals(watches.slice(0, -1).every(({ stopped }) => stopped), true);
    await records.close();
    assertEquals(watches.at(-1)!.stopped, true);
  });
});
