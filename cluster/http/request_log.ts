/**
 * A record of every request: who, what, how it ended. Never what was asked or answered.
 *
 * @module
 */
import type { MiddlewareHandler } from "hono";
import { logRecord } from "../logs/log.ts";
import type { AppEnv } from "./server_context.ts";

/** One request that has been answered; a stream is when it begins. */
export interface RequestRecord {
  readonly requestId: string;
  /** A hash of the API key; empty where there are none. */
  readonly client: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly milliseconds: number;
}

/** Tells about every request. */
export function recordRequests(onAnswered: (record: RequestRecord) => void): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const started = performance.now();
    await next();
    const { method, path } = c.req;
    onAnswered({
      requestId: c.get("requestId"),
      client: c.get("client"),
      method,
      path,
      status: c.res.status,
      milliseconds: Math.round((performance.now() - started) * 10) / 10,
    });
  };
}

/** Logs a request; those that only look at the server are not worth a line. */
export function logRequest(record: RequestRecord): void {
  const level = record.method === "GET" && record.status < 400 ? "debug" : "info";
  logRecord(level, "{method} {path} {status} in {milliseconds} ms ({requestId})", { ...record });
}
