/**
 * Server-sent events as OpenAI's clients read them, and the signal that ends a request when its client goes away.
 *
 * @module
 */
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import { toHttpError } from "./errors.ts";

/** Sends every value as one event, then `[DONE]`. An error after the first event becomes an error event. */
export function streamEvents(c: Context, abort: AbortController, events: AsyncIterable<unknown>): Response {
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

/** Aborts when the client of this request disconnects or the server shuts down. */
export function requestAbort(c: Context, shutdown: AbortSignal): AbortController {
  const controller = new AbortController();
  const abort = () => controller.abort();
  if (shutdown.aborted) abort();
  c.req.raw.signal.addEventListener("abort", abort, { once: true });
  shutdown.addEventListener("abort", abort, { once: true, signal: controller.signal });
  return controller;
}
