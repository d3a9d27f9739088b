/**
 * A registry in a bucket of NATS' key-value store (JetStream): one key for each cell, watched by fronts.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import type { CellFacts, CellRegistry, CellWatch, Registration } from "../../core/registry/registry.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";
import { NatsBucket, type NatsPlace } from "./nats_bucket.ts";
import { PolledWatch } from "./polled_watch.ts";
import { Registrar } from "./registrar.ts";

/** How often things happen, in milliseconds. */
export interface NatsRegistryTimes {
  /** Between two looks at what the watch has brought; default: 250. */
  readonly pollMs?: number;
  /** See `CELL_BEAT` and `CELL_TTL`. */
  readonly beatMs?: number;
  readonly ttlMs?: number;
}

const POLL = 250;
/** Milliseconds before a watch that has ended is begun again. */
const AGAIN = 500;

/** Cells of a bucket. */
export class NatsRegistry implements CellRegistry {
  readonly name: string;
  readonly #place: NatsPlace;
  readonly #times: NatsRegistryTimes;

  constructor(place: NatsPlace, times: NatsRegistryTimes = {}) {
    const hosts = place.servers.map((server) => new URL(server)).map(({ protocol, host }) => `${protocol}//${host}`);
    // Without users and passwords.
    this.name = `${hosts.join(",")}/${place.bucket}`;
    this.#place = place;
    this.#times = times;
  }

  async register(facts: () => CellFacts, onLost: (problem: string) => void): Promise<Registration> {
    const bucket = await NatsBucket.connect(this.#place);
    const using = async <T>(work: (kv: Awaited<ReturnType<NatsBucket["kv"]>>) => Promise<T>) => {
      const kv = await bucket.kv();
      try {
        return await work(kv);
      } catch (error) {
        // It may be gone, with all that it held.
        bucket.forget();
        throw error;
      }
    };
    const store = {
      read: async (id: string) => {
        const entry = await using((kv) => kv.get(keyOf(id)));
        return entry === null || entry.operation !== "PUT" ? null : entry.string();
      },
      write: async (id: string, text: string) => void await using((kv) => kv.put(keyOf(id), text)),
      remove: async (id: string) => await using((kv) => kv.delete(keyOf(id))),
    };
    try {
      const registrar = await Registrar.register(store, { name: this.name, facts, onLost, beatMs: this.#times.beatMs });
      const close = async () => {
        await registrar.close();
        await bucket.close();
      };
      return { refresh: () => registrar.refresh(), close, [Symbol.asyncDispose]: close };
    } catch (error) {
      await bucket.close();
      throw error;
    }
  }

  async watch(onChange: () => void): Promise<CellWatch> {
    const bucket = await NatsBucket.connect(this.#place);
    const records = new WatchedRecords(bucket);
    try {
      await records.begun;
      const { pollMs = POLL, ttlMs } = this.#times;
      const watch = await PolledWatch.start({ name: this.name, list: () => Promise.resolve(records.texts), onChange, pollMs, ttlMs });
      const close = async () => {
        await watch.close();
        await records.close();
        await bucket.close();
      };
      return {
        get cells() {
          return watch.cells;
        },
        get age() {
          return watch.age;
        },
        close,
        [Symbol.asyncDispose]: close,
      };
    } catch (error) {
      await records.close();
      await bucket.close();
      throw error;
    }
  }
}

/** Keys hold no dots here: those would be levels of a subject. */
function keyOf(id: string): string {
  return id.replaceAll(".", "=2E");
}

/** What a bucket holds, as its watch tells. */
class WatchedRecords {
  /** Resolves when all that there was has been told once; rejects if the first watch cannot begin. */
  readonly begun: Promise<void>;
  readonly #bucket: NatsBucket;
  readonly #failures = new RepeatedLog();
  #texts: Map<string, string> | null = null;
  #problem = "nothing has been told yet";
  #stop: () => void = () => {};
  #closed = false;
  readonly #running: Promise<void>;

  constructor(bucket: NatsBucket) {
    this.#bucket = bucket;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.begun = promise;
    promise.catch(() => {});
    bucket.onConnection = () => this.#stop();
    this.#running = this.#run(resolve, reject);
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

  async #run(begun: () => void, failed: (error: unknown) => void): Promise<void> {
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
      if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }

  async #watchOnce(begun: () => void): Promise<void> {
    const kv = await this.#bucket.kv();
    const texts = new Map<string, string>();
    const initialized = () => {
      this.#texts = texts;
      begun();
    };
    const watch = await kv.watch();
    this.#stop = () => watch.stop();
    // Of an empty bucket, nothing is told. What comes between watch and status is.
    const { values } = await kv.status();
    if (values === 0) initialized();
    for await (const entry of watch) {
      if (entry.operation === "PUT") texts.set(entry.key, entry.string());
      else texts.delete(entry.key);
      // So many are still to come of those that were there.
      if (entry.isUpdate || entry.delta === 0) initialized();
    }
  }
}
