/**
 * Records of a bucket of NATS' key-value store as a watch tells of them: begun again whenever it ends, with all that is there then.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";
import type { NatsBucket } from "./nats_bucket.ts";

/** Milliseconds before a watch that has ended is begun again. */
const AGAIN = 500;

/** What of a bucket is needed. */
export type WatchedBucket = Pick<NatsBucket, "connected" | "kv" | "forget" | "onConnection">;

/** What a bucket holds. */
export class WatchedRecords {
  /** Resolves when all that there was has been told once; rejects if the first watch cannot begin. */
  readonly begun: Promise<void>;
  readonly #bucket: WatchedBucket;
  readonly #failures = new RepeatedLog();
  #texts: Map<string, string> | null = null;
  #problem = "nothing has been told yet";
  #stop: () => void = () => {};
  /** Goes up with every connection: a watch of an earlier one tells nothing. */
  #connections = 0;
  #closed = false;
  readonly #running: Promise<void>;

  /** @param againMs milliseconds before a watch that has ended is begun again */
  constructor(bucket: WatchedBucket, { againMs = AGAIN }: { readonly againMs?: number } = {}) {
    this.#bucket = bucket;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.begun = promise;
    promise.catch(() => {});
    bucket.onConnection = () => {
      this.#connections++;
      this.#stop();
    };
    this.#running = this.#run(resolve, reject, againMs);
  }

  /** By key. @throws if they are not known now */
  get texts(): ReadonlyMap<string, string> {
    if (this.#texts === null || !this.#bucket.connected) throw new Error(this.#bucket.connected ? this.#problem : "the connection is lost");
    return this.#texts;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    await this.#running;
  }

  async #run(begun: () => void, failed: (error: unknown) => void, againMs: number): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#watchOnce(begun);
        this.#problem = "the watch has ended, and begins again";
      } catch (error) {
        failed(error);
        this.#bucket.forget();
        this.#problem = messageOf(error);
        if (this.#bucket.connected && !this.#closed) this.#failures.say(`cannot watch the registry; it is tried again: ${this.#problem}`);
      }
      this.#texts = null;
      if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, againMs));
    }
  }

  async #watchOnce(begun: () => void): Promise<void> {
    const connection = this.#connections;
    const kv = await this.#bucket.kv();
    const watch = await kv.watch();
    this.#stop = () => watch.stop();
    try {
      // While it was made, nobody could stop it.
      if (this.#closed || connection !== this.#connections) return;
      const texts = new Map<string, string>();
      const initialized = () => {
        this.#texts = texts;
        begun();
      };
      // Of an empty bucket, nothing is told. What comes between watch and status is.
      const { values } = await kv.status();
      if (values === 0) initialized();
      for await (const entry of watch) {
        if (entry.operation === "PUT") texts.set(entry.key, entry.string());
        else texts.delete(entry.key);
        // So many are still to come of those that were there.
        if (entry.isUpdate || entry.delta === 0) initialized();
      }
    } finally {
      this.#stop = () => {};
      watch.stop();
    }
  }
}
