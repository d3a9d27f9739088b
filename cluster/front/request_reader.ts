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

/** Reads. */
export class RequestReader implements Disposable {
  #thread: Worker | null = null;
  #closed = false;
  /** Who waits for the thread, in the order in which it was asked. */
  readonly #waiting: PromiseWithResolvers<unknown>[] = [];

  /** @throws {HttpError} as {@link readFrontRequest} does, or 503 if the thread has failed or is closed */
  async read(path: string, body: Uint8Array<ArrayBuffer>, client: string): Promise<FrontRequest> {
    if (body.length < LARGE) return readFrontRequest(path, body, client);
    return await this.#ask<FrontRequest>({ kind: "read", path, body, client });
  }

  /** As {@link writeContinuation}. @throws {HttpError} 503 if the thread has failed or is closed */
  async writeContinuation(continuation: ContinuationToWrite): Promise<Uint8Array<ArrayBuffer>> {
    const { body, resumption: { tokens } } = continuation;
    const bytes = tokens.reduce((sum, { length }) => sum + length * TOKEN_BYTES, body.length);
    return bytes < LARGE ? writeContinuation(continuation) : await this.#ask<Uint8Array<ArrayBuffer>>({ kind: "continue", continuation });
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#end("this front is stopping");
  }

  async #ask<T>(task: BodyTask): Promise<T> {
    // Nobody would end another thread.
    if (this.#closed) throw unreadable("this front is stopping");
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.push(waiting);
    const thread = this.#thread ??= this.#begin();
    thread.postMessage(task);
    return await waiting.promise as T;
  }

  #begin(): Worker {
    const thread = new Worker(new URL("./reader_thread.ts", import.meta.url), { type: "module", name: "bodies" });
    thread.onmessage = ({ data }: MessageEvent<BodyAnswer>) => {
      const waiting = this.#waiting.shift();
      if ("done" in data) waiting?.resolve(data.done);
      else waiting?.reject(HttpError.from(data.error));
    };
    thread.onerror = (event) => {
      event.preventDefault();
      if (this.#thread === thread) this.#end(event.message);
    };
    return thread;
  }

  #end(problem: string): void {
    this.#thread?.terminate();
    // The next one begins another.
    this.#thread = null;
    const error = unreadable(problem);
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

function unreadable(problem: string): HttpError {
  return new HttpError(503, `The body could not be read: ${problem}`, { code: "internal", retryAfter: 1 });
}
