/**
 * Server-sent events as OpenAI's clients read them, and the signal that ends a request when its client goes away.
 *
 * @module
 */
import type { Context } from "hono";
import { LatentmeshError } from "../../core/errors.ts";
import { MOST_WAITING_EVENTS } from "../../core/event_queue.ts";
import { toHttpError } from "../api/errors.ts";
import { joined, jsonBytes } from "./json.ts";
import type { RelayNotes } from "./relay/relayed_request.ts";
import type { AppEnv } from "./server_context.ts";

const ENCODER = new TextEncoder();
const DONE = ENCODER.encode("data: [DONE]\n\n");
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

/** Options of {@link streamEvents}. */
export interface StreamOptions {
  /** What an error is sent as; default: OpenAI's. */
  readonly failed?: (error: unknown) => unknown;
  /** Whether `[DONE]` comes last (default). */
  readonly done?: boolean;
  /** Events that may wait for a client that does not read; it loses its own request beyond. */
  readonly mostWaiting?: number;
}

/**
 * Sends every value as one event when it comes, then `[DONE]`. An error after the response has begun becomes an error event.
 *
 * @param produce sends the values; ends soon after `abort` does
 */
export function streamEvents(
  abort: Pick<RequestAbort, "abort"> & Partial<Pick<RequestAbort, "notes">>,
  produce: (send: (value: unknown) => void) => Promise<void>,
  { failed = (error) => toHttpError(error).body, done = true, mostWaiting = MOST_WAITING_EVENTS }: StreamOptions = {},
): Response {
  let open = true;
  const noted = (value: unknown) => {
    const notes = abort.notes?.take() ?? "";
    return notes === "" ? eventBytes(value) : joined([notes, eventBytes(value)]);
  };
  // A stream of our own, pushed to: a chain of iterators and transforms has a dozen promises for every event.
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      const end = (last: Uint8Array | null) => {
        if (!open) return;
        open = false;
        if (last !== null) controller.enqueue(last);
        if (done) controller.enqueue(DONE);
        controller.close();
      };
      const send = (value: unknown) => {
        if (!open) return;
        controller.enqueue(noted(value));
        if (controller.desiredSize! >= -mostWaiting) return;
        end(noted(failed(new LatentmeshError("capacity", `The client reads too slowly: ${mostWaiting} events wait for it`))));
        abort.abort();
      };
      produce(send).then(() => end(null), (error) => end(noted(failed(error))));
    },
    cancel() {
      open = false;
      abort.abort();
    },
  });
  return new Response(body, { headers: HEADERS });
}

function eventBytes(value: unknown): Uint8Array<ArrayBuffer> {
  if (value instanceof NamedEvent) return joined([`event: ${value.name}\ndata: `, jsonBytes(value.data), "\n\n"]);
  return ENCODER.encode(`data: ${JSON.stringify(value)}\n\n`);
}

/** What ends a request early. */
export class RequestAbort {
  /** Aborted by {@link abort}, when the client disconnects, or when the server shuts down. */
  readonly signal: AbortSignal;
  /** What a front is told beside the events; undefined: no front asks. */
  readonly notes: RelayNotes | undefined;
  readonly #controller = new AbortController();

  constructor(c: Context<AppEnv>, shutdown: AbortSignal) {
    // No listeners: `shutdown` lives as long as the server and must not collect one for every request.
    this.notes = c.get("relay");
    this.signal = AbortSignal.any([this.#controller.signal, c.req.raw.signal, shutdown]);
  }

  abort(): void {
    this.#controller.abort();
  }
}
