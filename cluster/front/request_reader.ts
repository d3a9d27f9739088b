/**
 * Reads bodies of requests: large ones in a thread, since parsing megabytes would keep the streams of everybody else waiting.
 *
 * @module
 */
import { HttpError } from "../api/errors.ts";
import { type BodyToRead, type FrontRequest, readFrontRequest, type ReadRequest } from "./front_request.ts";

/** Bytes that are parsed within a few milliseconds. */
const LARGE = 256 << 10;

/** Reads. */
export class RequestReader implements Disposable {
  #thread: Worker | null = null;
  /** Who waits for the thread, in the order in which it was asked. */
  readonly #waiting: PromiseWithResolvers<FrontRequest>[] = [];

  /** @throws {HttpError} as {@link readFrontRequest} does, or 503 if the thread has failed or is closed */
  async read(path: string, body: Uint8Array<ArrayBuffer>, client: string): Promise<FrontRequest> {
    if (body.length < LARGE) return readFrontRequest(path, body, client);
    const waiting = Promise.withResolvers<FrontRequest>();
    this.#waiting.push(waiting);
    const thread = this.#thread ??= this.#begin();
    thread.postMessage({ path, body, client } satisfies BodyToRead);
    return await waiting.promise;
  }

  [Symbol.dispose](): void {
    this.#end("this front is stopping");
  }

  #begin(): Worker {
    const thread = new Worker(new URL("./reader_thread.ts", import.meta.url), { type: "module", name: "bodies" });
    thread.onmessage = ({ data }: MessageEvent<ReadRequest>) => {
      const waiting = this.#waiting.shift();
      if ("request" in data) waiting?.resolve(data.request);
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
    const error = new HttpError(503, `The body could not be read: ${problem}`, { code: "internal", retryAfter: 1 });
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}
