/**
 * How an API server of Kubernetes refuses.
 *
 * @module
 */

/** Why something is refused. */
export class Refusal extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

/** As an object. */
export function statusOf({ code, reason, message }: Refusal): object {
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code };
}
