/**
 * Errors of a front in the words of each API.
 *
 * @module
 */
import type { HttpError } from "../api/errors.ts";
import { anthropicError } from "../http/anthropic/shapes.ts";

/** Errors of cells that another cell need not have. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  "worker_lost",
  "device_lost",
  "device_unavailable",
  "capacity",
  "timeout",
  "overloaded",
  "out_of_memory",
]);

/** Whether another cell may do what one has failed to do with such an error. */
export function mayGoElsewhere(code: string | null | undefined): boolean {
  return code !== null && code !== undefined && ELSEWHERE.has(code);
}

/** The last event of a stream that has failed. */
export function errorEvent(path: string, error: HttpError, requestId: string): Uint8Array<ArrayBuffer> {
  const { body } = error;
  switch (path) {
    case "/v1/messages":
      return named("error", anthropicError(error, requestId));
    case "/v1/responses":
      return named("error", { type: "error", code: body.error.code, message: body.error.message, param: body.error.param });
    default:
      return new TextEncoder().encode(`data: ${JSON.stringify(body)}\n\ndata: [DONE]\n\n`);
  }
}

function named(name: string, data: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}
