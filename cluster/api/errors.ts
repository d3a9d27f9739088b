/**
 * Errors in OpenAI's shape.
 *
 * @module
 */
import { type ErrorCode, LatentmeshError, messageOf } from "../../core/errors.ts";

/** HTTP statuses that errors map to. */
export type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 429 | 499 | 500 | 502 | 503 | 504;

/** Body of every error response, and of an error event in a stream. */
export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string | null };
}

const STATUS: Readonly<Record<ErrorCode, ErrorStatus>> = {
  invalid_config: 400,
  invalid_checkpoint: 500,
  invalid_request: 400,
  unsupported: 400,
  not_found: 404,
  device_unavailable: 503,
  device_lost: 503,
  worker_lost: 503,
  timeout: 504,
  protocol: 502,
  unauthorized: 502,
  out_of_memory: 503,
  capacity: 503,
  overloaded: 429,
  cancelled: 499,
  internal: 500,
};

/** What an error consists of, for its way from one process to another. */
export interface HttpErrorFields {
  readonly status: ErrorStatus;
  readonly message: string;
  readonly param: string | null;
  readonly code: string | null;
}

/** Characters of a name that are repeated to whoever sent it. */
const MOST_NAMED = 256;

/** A name that a client has sent, for errors and logs: of megabytes, the beginning says as much. */
export function shortened(name: string, most: number = MOST_NAMED): string {
  return name.length <= most ? name : `${name.slice(0, most)}…`;
}

/** A refusal with its status; `code` is OpenAI's where there is one. */
export class HttpError extends Error {
  readonly status: ErrorStatus;
  /** Seconds after which asking again may succeed. */
  readonly retryAfter: number | undefined;
  readonly body: ErrorBody;

  constructor(status: ErrorStatus, message: string, options: { readonly param?: string; readonly code?: string; readonly retryAfter?: number } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = options.retryAfter;
    const type = status >= 500 ? "server_error" : status === 429 ? "rate_limit_error" : "invalid_request_error";
    this.body = { error: { message, type, param: options.param ?? null, code: options.code ?? null } };
  }

  /** The same error again. */
  static from({ status, message, param, code }: HttpErrorFields): HttpError {
    return new HttpError(status, message, { param: param ?? undefined, code: code ?? undefined });
  }

  get fields(): HttpErrorFields {
    const { message, param, code } = this.body.error;
    return { status: this.status, message, param, code };
  }
}

/** Refuses a model by its name. @param served what there is instead, in words */
export function noSuchModel(id: string, served: string): HttpError {
  return new HttpError(404, `The model "${shortened(id)}" does not exist; ${served}`, { param: "model", code: "model_not_found" });
}

/** Models by their names, as the end of a sentence. */
export function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}

/** Least and most seconds after which a client is asked to come again to a full queue. */
const RETRY_AFTER = [1, 60] as const;

/** Any error as a response. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof LatentmeshError) {
    const [least, most] = RETRY_AFTER;
    const retryAfter = error.code === "overloaded" ? Math.min(most, Math.max(least, Math.ceil((error.retryAfterMs ?? 0) / 1000))) : undefined;
    return new HttpError(STATUS[error.code], error.message, { param: error.param, code: error.code, retryAfter });
  }
  return new HttpError(500, `Internal error: ${messageOf(error)}`, { code: "internal" });
}
