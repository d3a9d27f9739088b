/**
 * Every error a caller may want to catch. A message says what was wrong, where, and what to do about it; `code` is stable and is what travels on
 * the wire and in HTTP bodies.
 *
 * @module
 */

/** Stable, machine-readable reason of a {@link LatentmeshError}. */
export type ErrorCode =
  | "invalid_config"
  | "invalid_checkpoint"
  | "invalid_request"
  | "unsupported"
  | "not_found"
  | "device_unavailable"
  | "device_lost"
  | "out_of_memory"
  | "capacity"
  | "overloaded"
  | "cancelled"
  | "protocol"
  | "unauthorized"
  | "timeout"
  | "worker_lost"
  | "internal";

/** An error with a stable code; `param` names the offending request or configuration field where there is one. */
export class LatentmeshError extends Error {
  /** Class name, as errors have it. */
  override readonly name: string = "LatentmeshError";
  /** Stable reason. */
  readonly code: ErrorCode;
  /** The offending field, where there is one. */
  readonly param: string | undefined;
  /** Milliseconds after which asking again may succeed, where that can be estimated. */
  readonly retryAfterMs: number | undefined;

  /** An error with a reason, a message for people and, where there is one, the offending field (`param`). */
  constructor(code: ErrorCode, message: string, options: { param?: string; retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.param = options.param;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Why what a signal belongs to was given up: what the signal says, or that whoever asked is gone. Any other reason is its `cause`. */
export function cancellation(signal?: AbortSignal): LatentmeshError {
  const reason: unknown = signal?.reason;
  if (reason instanceof LatentmeshError) return reason;
  // What `abort()` says by itself says nothing.
  const told = reason === undefined || (reason instanceof DOMException && reason.name === "AbortError") ? "" : `: ${messageOf(reason)}`;
  return new LatentmeshError("cancelled", `The request was cancelled${told}`, { cause: reason });
}

/** Text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Anything thrown as one of ours; what is not was not expected. */
export function asLatentmeshError(error: unknown): LatentmeshError {
  return error instanceof LatentmeshError ? error : new LatentmeshError("internal", `Internal error: ${messageOf(error)}`, { cause: error });
}

/** Throws an `internal` error when an invariant of our own does not hold. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new LatentmeshError("internal", `Internal error: ${message}. Please report this.`);
}
