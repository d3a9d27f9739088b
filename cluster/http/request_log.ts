/**
 * A record of every request: who, what, how it ended. Never what was asked or answered.
 *
 * @module
 */
import type { MiddlewareHandler } from "hono";
import { logRecord } from "../logs/log.ts";
import { endingWith } from "./guards.ts";
import { isStream } from "./server/response_writer.ts";
import type { AppEnv } from "./server_context.ts";

/** One request that has been answered, to its end. */
export interface RequestRecord {
  readonly requestId: string;
  /** A hash of the API key; empty where there are none. */
  readonly client: string;
  readonly method: string;
  readonly path: string;
  /** 499: the client went away before. */
  readonly status: number;
  readonly milliseconds: number;
}

/** As nginx has it: the client has closed the request. */
const CLIENT_GONE = 499;

/** Tells about every request when its answer is there, and of a stream when that has ended. */
export function recordRequests(onAnswered: (record: RequestRecord) => void): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const started = performance.now();
    await next();
    const { method, path, raw: { signal } } = c.req;
    const { status } = c.res;
    const answered = (status: number) =>
      onAnswered({
        requestId: c.get("requestId"),
        client: c.get("client"),
        method,
        path,
        status,
        milliseconds: Math.round((performance.now() - started) * 10) / 10,
      });
    if (!isStream(c.res)) return answered(status);
    // A stream whose client has gone may end by itself before anybody gives it up.
    c.res = endingWith(c.res, (abandoned) => answered(abandoned || signal.aborted ? CLIENT_GONE : status));
  };
}

/** How much a request is worth a line: not those that only look at the server, also while it cannot serve yet. */
export function levelOf({ method, status }: Pick<RequestRecord, "method" | "status">): "debug" | "info" {
  return (method === "GET" || method === "HEAD") && (status < 400 || status === 503) ? "debug" : "info";
}

/** Logs a request. */
export function logRequest(record: RequestRecord): void {
  logRecord(levelOf(record), "{method} {path} {status} in {milliseconds} ms ({requestId})", { ...record });
}
