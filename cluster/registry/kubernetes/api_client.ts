/**
 * Requests to the API server of Kubernetes, as the pod's service account.
 *
 * @module
 */
import { z } from "zod";
import { messageOf } from "../../../core/errors.ts";
import { abortableFetch } from "../../../core/net/abortable_fetch.ts";
import { readAccountFile, type ServiceAccount } from "./service_account.ts";

/** Milliseconds for an answer, or its beginning: what was missed must be known before anybody takes a cell for gone. */
export const ANSWER_TIMEOUT = 3000;
/** A server that is overloaded is left alone for so many milliseconds at most, whatever it asks for. */
const LONGEST_WAIT = 30_000;

/** The server has answered, and refuses. */
export class ApiError extends Error {
  /** Status of HTTP, or the code of a `Status` object in a watch. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What is asked. */
export interface ApiRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** What the server says where it refuses. */
const refusal = z.object({ message: z.string().optional(), reason: z.string().optional() });

/** Asks an API server. */
export class ApiClient implements Disposable {
  readonly #account: ServiceAccount;
  #http: { readonly ca: string; readonly client: Deno.HttpClient } | null = null;
  #closed = false;
  /** When the server may be asked again. */
  #notBefore = -Infinity;

  constructor(account: ServiceAccount) {
    this.#account = account;
  }

  /**
   * Asks, and reads the answer.
   *
   * @throws {ApiError} if the server refuses; other errors if it cannot be reached, or says nothing for three seconds
   */
  async ask(request: ApiRequest): Promise<unknown> {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(notAnswered()), ANSWER_TIMEOUT);
    try {
      return await (await this.open(request, silence.signal)).json();
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks; the answer is read as it comes, until the signal is aborted. @throws {ApiError} if the server refuses */
  async open(request: ApiRequest, signal: AbortSignal): Promise<Response> {
    const wait = this.#notBefore - performance.now();
    if (wait > 0) throw new ApiError(429, `the API server has too much to do, and is asked again in ${Math.ceil(wait / 1000)} s`);
    let response = await this.#send(request, signal);
    if (response.status === 401) {
      // The token may have been replaced between being read and being looked at.
      await response.body?.cancel();
      response = await this.#send(request, signal);
    }
    if (response.ok) return response;
    const after = Number(response.headers.get("retry-after"));
    if (after > 0) this.#notBefore = performance.now() + Math.min(after * 1000, LONGEST_WAIT);
    throw new ApiError(response.status, `${request.method} ${request.path}: ${response.status} ${await reasonOf(response)}`);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#http?.client.close();
    this.#http = null;
  }

  async #send({ method, path, query = {}, body }: ApiRequest, signal: AbortSignal): Promise<Response> {
    const [token, client] = await Promise.all([readAccountFile(this.#account, "token"), this.#client()]);
    const search = new URLSearchParams(query).toString();
    return await abortableFetch(`${this.#account.server}${path}${search === "" ? "" : `?${search}`}`, {
      method,
      headers: {
        accept: "application/json",
        authorization: `Bearer ${token}`,
        ...body === undefined ? {} : { "content-type": method === "PATCH" ? "application/merge-patch+json" : "application/json" },
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      client,
      redirect: "error",
    });
  }

  async #client(): Promise<Deno.HttpClient> {
    const ca = await readAccountFile(this.#account, "ca.crt");
    // Nobody would close another one.
    if (this.#closed) throw new Error("nothing is asked of the API server any more");
    if (this.#http?.ca !== ca) {
      this.#http?.client.close();
      // Of HTTP/2, all requests would share a connection, and hang together when it hangs.
      this.#http = { ca, client: Deno.createHttpClient({ caCerts: [ca], http2: false }) };
    }
    return this.#http.client;
  }
}

/** Why a request was given up. */
export function notAnswered(): Error {
  return new Error(`the API server has not answered for ${ANSWER_TIMEOUT / 1000} s`);
}

/** What an error means for whoever is to mend it. */
export function describeApiError(error: unknown): string {
  if (!(error instanceof ApiError)) return messageOf(error);
  if (error.status === 401) return `${error.message}; the token of the service account is not accepted`;
  if (error.status === 403) return `${error.message}; give the service account the role for it (deploy/kubernetes/base/rbac.yaml)`;
  return error.message;
}

async function reasonOf(response: Response): Promise<string> {
  const text = await response.text().catch(() => "");
  try {
    const { message, reason } = refusal.parse(JSON.parse(text));
    return message ?? reason ?? "";
  } catch {
    return text.slice(0, 200);
  }
}
