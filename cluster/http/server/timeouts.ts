/**
 * How long clients may take.
 *
 * @module
 */

/** Milliseconds. */
export interface HttpTimeouts {
  /** For a head, from its first byte or from the connection's beginning. */
  readonly head: number;
  /** Between two requests. */
  readonly idle: number;
  /** For a body. */
  readonly body: number;
  /** In which nothing of an answer is taken. */
  readonly write: number;
  /** For which the rest of a request is read that was answered early: many clients read the answer only when they have sent all. */
  readonly linger: number;
}

/** What servers allow. */
export const HTTP_TIMEOUTS: HttpTimeouts = { head: 10_000, idle: 75_000, body: 60_000, write: 60_000, linger: 2000 };
