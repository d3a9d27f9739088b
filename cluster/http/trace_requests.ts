/**
 * A span for every request that is posted, until its answer has ended.
 *
 * @module
 */
import type { MiddlewareHandler } from "hono";
import { beginIncoming, inTrace } from "../observe/spans.ts";
import { endingWith } from "./guards.ts";
import type { AppEnv } from "./server_context.ts";

/**
 * What a request's handler begins belongs to its span.
 *
 * @param isRoute whether a path is one of this server's: others are made up by clients, and name no span
 */
export function traceRequests(isRoute: (path: string) => boolean): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const { method, path, raw: { headers, signal } } = c.req;
    if (method !== "POST") return await next();
    const known = isRoute(path);
    const span = beginIncoming(known ? `${method} ${path}` : method, headers, {
      "http.request.method": method,
      "latentmesh.request_id": c.get("requestId"),
      ...known ? { "http.route": path } : {},
    });
    // Spans of others, where nobody is told of those of this process, are passed on all the same.
    await inTrace(span.inside, next);
    if (!span.recorded) return;
    const { status } = c.res;
    span.set({ "http.response.status_code": status });
    c.res = endingWith(c.res, (abandoned) => {
      span.end(abandoned || signal.aborted ? "the client went away" : status >= 500 ? `status ${status}` : null);
    });
  };
}
