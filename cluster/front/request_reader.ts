/**
 * Reads bodies of requests, and writes those by which another cell goes on: large ones in a thread, since parsing megabytes would keep the streams of everybody else
 * waiting.
 *
 * @module
 */
import { HttpError } from "../api/errors.ts";
import type { BodyAnswer, BodyTask } from "./body_tasks.ts";
import { type ContinuationToWrite, writeContinuation } from "./continuation.ts";
import { type FrontRequest, readFrontRequest } from "./front_request.ts";

/** Bytes that are parsed within a few milliseconds. */
const LARGE = 256 << 10;
/** Bytes of a token's number in JSON, about. */
const TOKEN_BYTES = 7;

/** Milliseconds that the thread may take for one body: 128 MiB of text take half a second, on a processor that nobody else wants. */
const LIMIT = 10_000;

/** A body that waits for the thread. */
interface Waiting {
  readonly task: BodyTask;
  readonly answer: PromiseWithResolvers<unknown>;
}

/** Reads. */
export class RequestReader implements Disposable {
  readonly #limit: number;
  #thread: Worker | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  /** What the thread is at. */
  #current: Waiting | null = null;
  /** Whose {@link #current} is, or was. */
  #served = "";
  /** By client, whose turn it is first: nobody waits for all bodies of another. */
  readonly #waiting = new Map<string, Waiting[]>();

  /** @param limitMs milliseconds that reading one body may take; default: ten seconds */
  constructor({ limitMs = LIMIT }: { readonly limitMs?: number } = {}) {
    this.#limit = limitMs;
  }

  /** @throws {HttpError} as {@link readFrontRequest} does, 400 if reading takes too long, or 503 if the thread has failed or is closed */
  async read(path: string, body: Uint8Array<ArrayBuffer>, client: string): Promise<FrontRequest> {
    if (body.length < LARGE) return readFrontRequest(path, body, client);
    return await this.#ask<FrontRequest>({ kind: "read", path, body, client }, client);
  }

  /** As {@link writeContinuation}. @throws {HttpError} 503 if the thread has failed or is closed */
  async writeContinuation(continuation: ContinuationToWrite, client: string): Promise<Uint8Array<ArrayBuffer>> {
    const { body, resumption: { tokens } } = continuation;
    const bytes = tokens.reduce((sum, { length }) => sum + length * TOKEN_BYTES, body.length);
    return bytes < LARGE ? writeContinuation(continuation) : await this.#ask<Uint8Array<ArrayBuffer>>({ kind: "continue", continuation }, client);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    const all = [...this.#current === null ? [] : [this.#current], ...[...this.#waiting.values()].flat()];
    this.#waiting.clear();
    this.#end();
    for (const { answer } of all) answer.reject(unreadable("this front is stopping"));
  }

  async #ask<T>(task: BodyTask, client: string): Promise<T> {
    // Nobody would end another thread.
    if (this.#closed) throw unreadable("this front is stopping");
    const answer = Promise.withResolvers<unknown>();
    const own = this.#waiting.get(client);
    if (own === undefined) this.#waiting.set(client, [{ task, answer }]);
    else own.push({ task, answer });
    this.#next();
    return await answer.promise as T;
  }

  #next(): void {
    if (this.#current !== null) return;
    // Whoever had the last turn comes after those that came meanwhile.
    const again = this.#waiting.get(this.#served);
    this.#waiting.delete(this.#served);
    if (again !== undefined) this.#waiting.set(this.#served, again);
    const [turn] = this.#waiting;
    if (turn === undefined) return;
    const [client, own] = turn;
    const current = this.#current = own.shift()!;
    this.#served = client;
    if (own.length === 0) this.#waiting.delete(client);
    const thread = this.#thread ??= this.#begin();
    this.#timer = setTimeout(() => {
      this.#end();
      const problem = `Reading the body took longer than ${this.#limit / 1000} s; is it nested deeply?`;
      current.answer.reject(new HttpError(400, problem, { code: "invalid_json" }));
      this.#next();
    }, this.#limit);
    thread.postMessage(current.task);
  }

  #begin(): Worker {
    const thread = new Worker(new URL("./reader_thread.ts", import.meta.url), { type: "module", name: "bodies" });
    thread.onmessage = ({ data }: MessageEvent<BodyAnswer>) => {
      if (this.#thread !== thread || this.#current === null) return;
      const { answer } = this.#current;
      clearTimeout(this.#timer);
      this.#current = null;
      if ("done" in data) answer.resolve(data.done);
      else answer.reject(HttpError.from(data.error));
      this.#next();
    };
    thread.onerror = (event) => {
      event.preventDefault();
      if (this.#thread !== thread) return;
      const current = this.#current;
      this.#end();
      current?.answer.reject(unreadable(event.message));
      this.#next();
    };
    return thread;
  }

  /** Whoever is next has another thread. */
  #end(): void {
    clearTimeout(this.#timer);
    this.#thread?.terminate();
    this.#thread = null;
    this.#current = null;
  }
}

function unreadable(problem: string): HttpError {
  return new HttpError(503, `The body could not be read: ${problem}`, { code: "internal", retryAfter: 1 });
}
