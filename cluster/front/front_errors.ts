/**
 * Errors of a front in the words of each API.
 *
 * @module
 */
import type { HttpError } from "../api/errors.ts";
import { anthropicError } from "../http/anthropic/shapes.ts";
import { joined } from "../http/json.ts";

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

/** Those of them with which a cell has lost what computes: the request may be the reason. */
const LOST: ReadonlySet<string> = new Set(["worker_lost", "device_lost", "out_of_memory"]);

/** Whether a cell was lost, or a part of it, with a request that it fails with such an error. */
export function isLoss(code: string): boolean {
  return LOST.has(code);
}

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
      return joined([`data: ${JSON.stringify(body)}\n\n`, endOf(path)]);
  }
}

/** What comes behind the event that tells of an error. */
export function endOf(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(path === "/v1/messages" || path === "/v1/responses" ? "" : "data: [DONE]\n\n");
}

function named(name: string, data: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}
