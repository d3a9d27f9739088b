/**
 * Server-sent events as OpenAI's clients read them, and the signal that ends a request when its client goes away.
 *
 * @module
 */
import type { Context } from "hono";
import { toHttpError } from "./errors.ts";

const ENCODER = new TextEncoder();
const HEADERS = { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" };

/** An event with its name, where the name is part of what it says. */
export class NamedEvent {
  readonly name: string;
  readonly data: unknown;

  constructor(name: string, data: unknown) {
    this.name = name;
    this.data = data;
  }
}

/**
 * Sends every value as one event, then `[DONE]` unless `options.done` is false. An error after the first event becomes an error event. A client that does
 * not read is not written to: its events wait, at most as many as it asked for tokens.
 */
export function streamEvents(
  abort: RequestAbort,
  events: AsyncIterable<unknown>,
  options: { readonly done?: boolean } = {},
): Response {
  const iterator = events[Symbol.asyncIterator]();
  // A stream of our own: one promise per event, where a chain of transforms has a dozen.
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await iterator.next();
        if (!done) return controller.enqueue(eventBytes(value));
      } catch (error) {
        controller.enqueue(eventBytes(toHttpError(error).body));
      }
      if (options.done !== false) controller.enqueue(ENCODER.encode("data: [DONE]\n\n"));
      controller.close();
    },
    async cancel() {
      abort.abort();
      await iterator.return?.();
    },
  });
  return new Response(body, { headers: HEADERS });
}

function eventBytes(value: unknown): Uint8Array<ArrayBuffer> {
  if (value instanceof NamedEvent) return ENCODER.encode(`event: ${value.name}\ndata: ${JSON.stringify(value.data)}\n\n`);
  return ENCODER.encode(`data: ${JSON.stringify(value)}\n\n`);
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
