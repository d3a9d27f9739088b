/**
 * Records in Leases as a reader sees them: listed once, and then told of by a watch that goes on where it was broken off. Where the server no longer knows what has
 * happened since (410 Gone), they are listed again.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../../../core/errors.ts";
import { RepeatedLog } from "../../logs/repeated_log.ts";
import { ANSWER_TIMEOUT, type ApiClient, ApiError, describeApiError, notAnswered } from "./api_client.ts";
import { leasesPath, readLease, readLeaseList, RECORD_LABEL, type SeenLease } from "./lease.ts";
import { readLines } from "./lines.ts";

/** Options of {@link WatchedLeases}. */
export interface WatchedLeasesOptions {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds for which a watch may tell of nothing before its connection is doubted. */
  readonly silenceMs: number;
  /** Milliseconds before the first of several tries that fail one after the other; each waits twice as long as the one before. */
  readonly backOffMs?: number;
}

/** Seconds after which the server ends a watch by itself, and this reader shows its token anew: so many, and up to as many again, lest all fronts come at once. */
const WATCH_SECONDS = 240;
const BACK_OFF = 250;
const LONGEST_BACK_OFF = 5000;
/** Leases of a page of a list. */
const PAGE = 500;
/** A watch that ends sooner than that, in milliseconds, is begun again as if it had failed. */
const SHORT = 1000;

const event = z.object({ type: z.string(), object: z.unknown() });
const status = z.object({ code: z.number().optional(), message: z.string().optional() });
const bookmark = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/** How a watch has ended: by itself; by saying nothing; because the server does not know any more what was before. */
type Ending = "ended" | "silent" | "gone";

/** Leases that are watched. */
export class WatchedLeases {
  /** Resolves when all have been listed and the watch has begun; rejects if the first try fails. */
  readonly begun: Promise<void>;
  readonly #api: ApiClient;
  readonly #options: WatchedLeasesOptions;
  readonly #selector: string;
  readonly #failures = new RepeatedLog();
  readonly #closed = new AbortController();
  #texts: Map<string, string> | null = null;
  /** How far the texts are; null: they are to be listed. */
  #version: string | null = null;
  #problem = "nothing has been listed yet";
  readonly #running: Promise<void>;

  constructor(api: ApiClient, options: WatchedLeasesOptions) {
    this.#api = api;
    this.#options = options;
    this.#selector = Object.entries({ ...options.labels, ...RECORD_LABEL }).map(([label, value]) => `${label}=${value}`).join(",");
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.begun = promise;
    promise.catch(() => {});
    this.#running = this.#run(resolve, reject);
  }

  /** By name of the Lease. @throws if they are not known now */
  get texts(): ReadonlyMap<string, string> {
    if (this.#texts === null) throw new Error(this.#problem);
    return this.#texts;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#running;
  }

  async #run(begun: () => void, failed: (error: unknown) => void): Promise<void> {
    let failures = 0;
    while (!this.#closed.signal.aborted) {
      const started = performance.now();
      try {
        if (this.#version === null) await this.#list();
        const ending = await this.#watch(this.#version!, begun);
        // What was told holds until the list says otherwise: only one that fails makes this reader blind.
        if (ending !== "ended") this.#version = null;
        failures = performance.now() - started >= SHORT ? 0 : failures + 1;
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        failed(error);
        this.#version = null;
        this.#texts = null;
        this.#problem = describeApiError(error);
        this.#failures.say(`cannot watch the registry; it is tried again: ${this.#problem}`);
        failures++;
      }
      if (failures > 0) await this.#wait(failures);
    }
  }

  /** Of those that fail at once, not all try again at once. */
  async #wait(failures: number): Promise<void> {
    const { backOffMs = BACK_OFF } = this.#options;
    const most = Math.min(LONGEST_BACK_OFF, backOffMs * 2 ** Math.min(failures - 1, 16));
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, most * (0.5 + Math.random() / 2));
    const end = () => resolve();
    this.#closed.signal.addEventListener("abort", end);
    await promise;
    clearTimeout(timer);
    this.#closed.signal.removeEventListener("abort", end);
  }

  async #list(): Promise<void> {
    const texts = new Map<string, string>();
    let next: string | undefined;
    do {
      const page: Record<string, string> = next === undefined ? {} : { continue: next };
      const query = { labelSelector: this.#selector, limit: String(PAGE), ...page };
      const { leases, version, next: following } = readLeaseList(await this.#api.ask({ method: "GET", path: this.#path, query }));
      for (const { name, text } of leases) texts.set(name, text);
      this.#version = version;
      next = following;
    } while (next !== undefined);
    this.#texts = texts;
  }

  async #watch(from: string, begun: () => void): Promise<Ending> {
    const seconds = Math.round(WATCH_SECONDS * (1 + Math.random()));
    const query = {
      watch: "true",
      resourceVersion: from,
      labelSelector: this.#selector,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(seconds),
    };
    const silence = new AbortController();
    const { silenceMs } = this.#options;
    let isSilent = false;
    let timer = setTimeout(() => silence.abort(notAnswered()), ANSWER_TIMEOUT);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        isSilent = true;
        silence.abort();
      }, silenceMs);
    };
    try {
      const signal = AbortSignal.any([silence.signal, this.#closed.signal]);
      const response = await this.#api.open({ method: "GET", path: this.#path, query }, signal);
      if (response.body === null) throw new Error("the API server has answered a watch with nothing");
      begun();
      heard();
      for await (const line of readLines(response.body)) {
        heard();
        if (!this.#take(event.parse(JSON.parse(line)))) return "gone";
      }
      return "ended";
    } catch (error) {
      if (error instanceof ApiError && error.status === 410) return "gone";
      if (isSilent) return "silent";
      throw error;
    } finally {
      clearTimeout(timer);
      // Where reading has been given up, the connection is, too.
      silence.abort();
    }
  }

  /** @returns whether the watch can go on */
  #take({ type, object }: z.infer<typeof event>): boolean {
    if (type === "ERROR") {
      const { code = 500, message = "" } = status.parse(object);
      if (code === 410) return false;
      throw new ApiError(code, `the watch has ended: ${code} ${message}`);
    }
    if (type === "BOOKMARK") {
      this.#version = bookmark.parse(object).metadata.resourceVersion;
      return true;
    }
    const lease: SeenLease = readLease(object);
    // One that has lost its labels is told of as deleted, too.
    if (type === "DELETED") this.#texts!.delete(lease.name);
    else this.#texts!.set(lease.name, lease.text);
    this.#version = lease.version;
    return true;
  }

  get #path(): string {
    return leasesPath(this.#options.namespace);
  }
}

/** What a registry says where it cannot be read. */
export function unreadable(name: string, cause: unknown): LatentmeshError {
  const code = cause instanceof ApiError && (cause.status === 401 || cause.status === 403) ? "unauthorized" : "not_found";
  return cause instanceof LatentmeshError
    ? cause
    : new LatentmeshError(code, `Cannot read the registry ${name}: ${describeApiError(cause)}`, { cause });
}
