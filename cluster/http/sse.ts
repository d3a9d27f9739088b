/**
 * Server-sent events as OpenAI's clients read them, and the signal that ends a request when its client goes away.
 *
 * @module
 */
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import { toHttpError } from "./errors.ts";

/** Sends every value as one event, then `[DONE]`. An error after the first event becomes an error event. */
export function streamEvents(c: Context, abort: RequestAbort, events: AsyncIterable<unknown>): Response {
  return streamSSE(c, async (stream) => {
    stream.onAbort(() => abort.abort());
    try {
      for await (const event of events) await stream.writeSSE({ data: JSON.stringify(event) });
    } catch (error) {
      if (stream.aborted) return;
      await stream.writeSSE({ data: JSON.stringify(toHttpError(error).body) });
    }
    await stream.writeSSE({ data: "[DONE]" });
  });
}

/** What ends a request early. */
export class RequestAbort {
  /** Aborted by {@link abort}, when the client disconnects, or when the server shuts down. */
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();

  constructor(c: Context, shutdown: AbortSignal) {
    // No listeners: `shutdown` lives as long as the server and must not collect one for every request.
    this.signal = AbortSignal.any([this.#controller.signal, c.req.raw.signal, shutdown]);
  }

  abort(): void {
    this.#controller.abort();
  }
}
