/**
 * What every server answers alike, one of a model and one before others: about its health, and errors.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };
import type { Hono } from "hono";
import { HttpError, toHttpError } from "../api/errors.ts";
import { errorResponse } from "./error_response.ts";
import type { AppEnv } from "./server_context.ts";

/** Paths about which everybody may ask. */
export const HEALTH_PATHS = ["/healthz", "/health", "/readyz", "/version"] as const;

/** Whether the process is up, and which it is; whether it can serve differs. */
export function addHealth(app: Hono<AppEnv>): void {
  for (const path of ["/healthz", "/health"]) app.get(path, (c) => c.json({ status: "ok" }));
  app.get("/version", (c) => c.json({ version: manifest.version }));
}

/** Errors in the words of the API that is asked. */
export function addErrors(app: Hono<AppEnv>): void {
  app.notFound((c) => errorResponse(c, new HttpError(404, `There is no ${c.req.method} ${c.req.path} here`, { code: "not_found" })));
  app.onError((error, c) => errorResponse(c, toHttpError(error)));
}
