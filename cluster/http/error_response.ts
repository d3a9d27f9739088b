/**
 * Errors as the API that was asked has them.
 *
 * @module
 */
import type { Context } from "hono";
import type { HttpError } from "../api/errors.ts";
import { anthropicError, isAnthropic } from "./anthropic/shapes.ts";
import { ERROR_HEADER } from "./relay/relayed_request.ts";
import type { AppEnv } from "./server_context.ts";

/** The answer to a request that is refused or has failed. */
export function errorResponse(c: Context<AppEnv>, error: HttpError): Response {
  if (error.retryAfter !== undefined) c.header("retry-after", String(error.retryAfter));
  // A front decides by the code what to do, and Anthropic's errors have none.
  if (c.get("isFront") && error.fields.code !== null) c.header(ERROR_HEADER, error.fields.code);
  // 499 (client closed request) is nginx's and not in hono's list.
  return c.json(isAnthropic(c) ? anthropicError(error, c.get("requestId")) : error.body, error.status as 400);
}
