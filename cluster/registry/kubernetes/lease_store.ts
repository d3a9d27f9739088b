/**
 * A cell's record in a Lease: one request for each writing, which fails if anybody else has written since.
 *
 * @module
 */
import type { RecordStore } from "../record_store.ts";
import { type ApiClient, ApiError } from "./api_client.ts";
import { leaseName, leasesPath, readLease, type SeenLease, writeLease } from "./lease.ts";
import type { OwningPod } from "./service_account.ts";

/** Options of {@link LeaseStore}. */
export interface LeaseStoreOptions {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly pod: OwningPod | undefined;
  /** See `WrittenLease`. */
  readonly ttlMs: number;
}

/** Times that a writing is tried where others change what is not the record, such as labels. */
const TRIES = 3;

/** Keeps the record of one cell. */
export class LeaseStore implements RecordStore {
  readonly #api: ApiClient;
  readonly #options: LeaseStoreOptions;
  /** As it was last read or written; null: there is none. */
  #last: SeenLease | null = null;
  /** Whether this store has written it. */
  #own = false;

  constructor(api: ApiClient, options: LeaseStoreOptions) {
    this.#api = api;
    this.#options = options;
  }

  /** What this store has written last is there until a writing shows otherwise: nobody is asked. */
  async read(id: string): Promise<string | null> {
    if (!this.#own) this.#last = await this.#get(id);
    return this.#last?.text ?? null;
  }

  /** Leaves what another process has written since this one has read: that is read next. */
  async write(id: string, text: string, instance: string): Promise<void> {
    for (let time = 1;; time++) {
      try {
        this.#last = await this.#put(id, text, instance);
        this.#own = true;
        return;
      } catch (error) {
        const status = error instanceof ApiError ? error.status : null;
        if (status !== 409 && status !== 404) throw error;
        // Somebody has changed or removed it. Where the record is as it was, or this instance's, or nobody's, it is written on top of that.
        const before = this.#last?.text;
        this.#own = false;
        const now = this.#last = await this.#get(id);
        const isMine = now === null || now.holder === instance || now.text === before;
        // Who of two has the name, they find out when they read: whoever has it writes then.
        if (!isMine) return;
        if (time === TRIES) throw error;
      }
    }
  }

  async remove(id: string): Promise<void> {
    for (let time = 1; this.#last !== null; time++) {
      const { version, holder } = this.#last;
      try {
        const body = { apiVersion: "v1", kind: "DeleteOptions", preconditions: { resourceVersion: version } };
        await this.#api.ask({ method: "DELETE", path: await this.#path(id), body });
        break;
      } catch (error) {
        if (!(error instanceof ApiError) || (error.status !== 409 && error.status !== 404) || time === TRIES) throw error;
        this.#last = await this.#get(id);
        // Another process has it now.
        if (this.#last?.holder !== holder) break;
      }
    }
    this.#last = null;
    this.#own = false;
  }

  async #get(id: string): Promise<SeenLease | null> {
    try {
      return readLease(await this.#api.ask({ method: "GET", path: await this.#path(id) }));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  async #put(id: string, text: string, holder: string): Promise<SeenLease> {
    const { labels, pod, ttlMs, namespace } = this.#options;
    const version = this.#last?.version ?? null;
    const body = writeLease({ name: await leaseName(id), text, holder, labels, pod, ttlMs, version });
    const request = version === null
      ? { method: "POST" as const, path: leasesPath(namespace), body }
      : { method: "PATCH" as const, path: await this.#path(id), body };
    return readLease(await this.#api.ask(request));
  }

  async #path(id: string): Promise<string> {
    return `${leasesPath(this.#options.namespace)}/${await leaseName(id)}`;
  }
}
