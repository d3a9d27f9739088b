/**
 * How a worker's process ends: what its exit code tells its supervisor.
 *
 * @module
 */
import { type ErrorCode, LatentmeshError } from "../../core/errors.ts";
import { LATER_EXIT_CODE, REFUSED_EXIT_CODE, UNABLE_EXIT_CODE } from "../../core/wire/protocol.ts";

/** Of errors that tell the supervisor more than that there was one. */
const EXIT_CODES: Partial<Record<ErrorCode, number>> = { unauthorized: REFUSED_EXIT_CODE, capacity: LATER_EXIT_CODE };

/** Of errors before it has joined, which are about this host: those that it would meet again, unless what has caused them may pass. */
const UNABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["invalid_config", "invalid_checkpoint", "unsupported", "not_found", "device_unavailable"]);

/** Of the operating system: an address that is taken or not there yet, too many open files, too little memory for now, a network drive that is away. */
const PASSING: ReadonlySet<unknown> = new Set(
  ["EADDRINUSE", "EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN", "EINTR", "EBUSY", "EIO", "ESTALE", "ETIMEDOUT"],
);

/** Causes of causes that are looked at: they may go in a circle. */
const MOST_CAUSES = 8;

/** Of one that has left the cluster. @param code why */
export function leavingExitCode(code: ErrorCode): number {
  return EXIT_CODES[code] ?? 0;
}

/** Of one that could not join. */
export function failureExitCode(error: unknown): number {
  if (!(error instanceof LatentmeshError)) return 1;
  if (UNABLE.has(error.code)) return mayPass(error) ? 1 : UNABLE_EXIT_CODE;
  return EXIT_CODES[error.code] ?? 1;
}

/** Whether what has caused an error may be over the next time. */
function mayPass(error: Error): boolean {
  let at: unknown = error;
  for (let depth = 0; at instanceof Error && depth < MOST_CAUSES; depth++) {
    if (at instanceof Deno.errors.AddrInUse || at instanceof Deno.errors.AddrNotAvailable) return true;
    if (PASSING.has((at as { readonly code?: unknown }).code)) return true;
    at = at.cause;
  }
  return false;
}
