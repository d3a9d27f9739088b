/**
 * A registry in a bucket of NATS' key-value store (JetStream): one key for each cell, watched by fronts.
 *
 * @module
 */
import type { CellFacts, CellRegistry, CellWatch, Registration } from "../../core/registry/registry.ts";
import { NatsBucket, type NatsPlace } from "./nats_bucket.ts";
import { WatchedRecords } from "./nats_watch.ts";
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
