/**
 * Errors in the shape of Anthropic's API.
 *
 * @module
 */
import type { Context } from "hono";
import { type ErrorStatus, toHttpError } from "../../api/errors.ts";

const TYPES: Readonly<Record<ErrorStatus, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  405: "invalid_request_error",
  409: "invalid_request_error",
  413: "request_too_large",
  415: "invalid_request_error",
  429: "rate_limit_error",
  499: "api_error",
  500: "api_error",
  502: "api_error",
  503: "overloaded_error",
  504: "timeout_error",
};

/** Whether a request is one of Anthropic's API: by its path, or, where paths are the same, by the version that its clients send. */
export function isAnthropic({ req }: Context): boolean {
  return req.path === "/v1/messages" || req.path.startsWith("/v1/messages/") ||
    (req.path.startsWith("/v1/models") && req.header("anthropic-version") !== undefined);
}

/** Body of an error, and of an error event in a stream. */
export function anthropicError(error: unknown, requestId: string): object {
  const { status, message, fields: { code } } = toHttpError(error);
  const details = code === "thread_not_found" ? { details: { error_code: code } } : {};
  return { type: "error", error: { type: TYPES[status], message, ...details }, request_id: requestId };
}
