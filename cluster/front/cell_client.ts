/**
 * Requests from a front to a cell.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { abortableFetch } from "../../core/net/abortable_fetch.ts";
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { TRACE_HEADERS } from "../observe/spans.ts";
import { CLIENT_HEADER, RELAY_HEADER, RELAY_PROTOCOL, SPILLED_HEADER } from "../http/relay/relayed_request.ts";

/** A request that cells get. */
export interface RelayedRequest {
  readonly path: string;
  readonly body: Uint8Array<ArrayBuffer>;
  /** Headers of the client's that mean something to cells. */
  readonly headers: Headers;
  readonly client: string;
  readonly requestId: string;
  /** What identifiers of its answer are made from, and its time in Unix seconds. */
  readonly name: string;
  readonly created: number;
}

/** A cell could not be reached, or its answer broke off. */
export class CellUnreachable extends Error {
  /** Whether it may have begun with the request. */
  readonly begun: boolean;

  constructor({ id, url }: CellRecord, cause: unknown) {
    const problem = causeOf(cause);
    super(`cell "${id}" (${url}): ${problem}`, { cause });
    this.begun = !/\(Connect\)/.test(problem);
  }
}

/** What fetching says is in what was thrown, or behind it. */
function causeOf(error: unknown): string {
  return error instanceof TypeError && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
}

/** Says a network of a host that it cannot reach. */
const NO_HOST = /No route to host|(Network|Host) is (unreachable|down)/i;

/** Headers of clients that cells are given. The others, keys among them, are for this front. */
const PASSED = ["content-type", "accept", "anthropic-version", "anthropic-beta"];

/** Milliseconds for which idle connections stay: less than cells keep them, so that none is used that is being closed. */
const IDLE = 20_000;
const IDLE_CONNECTIONS = 256;

/** Options of {@link CellClient}. */
export interface CellClientOptions {
  /** What cells know their fronts by; undefined: they ask for nothing. */
  readonly key: string | undefined;
  /** PEM certificates of who signed cells' certificates, besides those that the system trusts. */
  readonly ca?: string;
}

/** Asks cells. */
export class CellClient implements Disposable {
  readonly #key: string | undefined;
  readonly #http: Deno.HttpClient;

  constructor({ key, ca }: CellClientOptions) {
    this.#key = key;
    this.#http = Deno.createHttpClient({
      poolIdleTimeout: IDLE,
      poolMaxIdlePerHost: IDLE_CONNECTIONS,
      http2: false,
      ...ca === undefined ? {} : { caCerts: [ca] },
    });
  }

  /**
   * Asks a cell; whoever aborts the signal closes the connection, and so cancels at the cell.
   *
   * @param spilled names the prefix that brings the request here though it is another cell's by rendezvous
   * @param traced whether this process traces: then `fetch` says which span it is for
   * @throws {CellUnreachable} unless the head of an answer comes
   */
  async ask(
    cell: CellRecord,
    request: RelayedRequest,
    { signal, spilled, traced }: { readonly signal: AbortSignal; readonly spilled?: string; readonly traced: boolean },
  ): Promise<Response> {
    const { path, body, client, requestId, name, created } = request;
    const headers = new Headers();
    for (const header of traced ? PASSED : [...PASSED, ...TRACE_HEADERS]) {
      const value = request.headers.get(header);
      if (value !== null) headers.set(header, value);
    }
    if (this.#key !== undefined) headers.set("authorization", `Bearer ${this.#key}`);
    headers.set("x-request-id", requestId);
    headers.set(CLIENT_HEADER, client);
    headers.set(RELAY_HEADER, `${RELAY_PROTOCOL} ${name} ${created}`);
    if (spilled !== undefined) headers.set(SPILLED_HEADER, spilled);
    try {
      return await abortableFetch(urlOf(cell, path), { method: "POST", headers, body, signal, client: this.#http, redirect: "manual" });
    } catch (error) {
      throw new CellUnreachable(cell, error);
    }
  }

  /**
   * Whether a cell says anything, were it that it takes no connection, as one does that ends; false: nothing comes before the signal is aborted, or its host is not there.
   */
  async answers(cell: CellRecord, signal: AbortSignal): Promise<boolean> {
    try {
      const response = await abortableFetch(urlOf(cell, "/healthz"), { signal, client: this.#http, redirect: "manual" });
      await response.body?.cancel();
      return true;
    } catch (error) {
      return !signal.aborted && !NO_HOST.test(causeOf(error));
    }
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }
}

function urlOf({ url }: CellRecord, path: string): string {
  return `${url.replace(/\/+$/, "")}${path}`;
}

/** Headers of cells' answers that clients are given. */
const ANSWERED = ["content-type", "cache-control", "x-accel-buffering", "retry-after", "warning"];

/** What of a cell's answer's head a client is given. */
export function answeredHeaders(response: Response): Headers {
  const headers = new Headers();
  for (const name of ANSWERED) {
    const value = response.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  return headers;
}
